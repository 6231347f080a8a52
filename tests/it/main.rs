//! The integration tests: one binary, a module per area, each test against a server of its own.

mod accounts;
mod admin;
mod auth;
mod channels;
mod cli;
mod config;
mod durability;
mod file_store;
mod files;
mod fuzz;
mod gateway;
mod guests;
mod keys;
mod messages;
mod openapi;
mod plugins;
mod postgres;
mod presence;
mod store;
mod story;

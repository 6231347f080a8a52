//! The integration tests: one binary, a module per area, each test against a server of its own.

mod accounts;
mod admin;
mod auth;
mod backup;
mod channels;
mod cli;
mod config;
mod durability;
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
mod seed;
mod store;
mod story;

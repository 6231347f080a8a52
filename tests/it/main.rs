//! The integration tests: one binary, a module per area, each test against a server of its own.

mod accounts;
mod admin;
mod auth;
mod backup;
mod channels;
mod cli;
mod config;
mod durability;
mod edge;
mod file_store;
mod files;
mod fuzz;
mod gateway;
mod guests;
mod keys;
mod leaks;
mod messages;
mod observe;
mod openapi;
mod plugins;
mod postgres;
mod presence;
mod rates;
mod seed;
mod store;
mod story;

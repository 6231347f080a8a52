//! The integration tests: one binary, a module per area, each test against a server of its own.

mod auth;
mod backup;
mod channels;
mod config;
mod durability;
mod files;
mod gateway;
mod guests;
mod messages;
mod plugins;
mod postgres;
mod seed;
mod store;
mod story;

//! The `patchbay` program.

mod app;
mod auth;
mod backup;
mod bus;
mod cli;
mod config;
mod files;
mod gateway;
mod http;
mod ops;
mod picture;
mod plugin_host;
mod seed;

fn main() -> std::process::ExitCode {
    cli::run()
}

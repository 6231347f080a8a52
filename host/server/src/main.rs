//! The `patchbay` program.

mod app;
mod auth;
mod bus;
mod cli;
mod config;
mod files;
mod gateway;
mod http;
mod ops;
mod plugin_host;

fn main() -> std::process::ExitCode {
    cli::run()
}

//! The `patchbay` program.

mod app;
mod auth;
mod backup;
mod bus;
mod cli;
mod config;
mod control;
mod files;
mod gateway;
mod http;
mod key_file;
mod ops;
mod picture;
mod plugin_host;
mod seed;

fn main() -> std::process::ExitCode {
    cli::run()
}

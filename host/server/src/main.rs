//! The `patchbay` program.

mod app;
mod auth;
mod backup;
mod bus;
mod cli;
mod config;
mod control;
mod egress;
mod files;
mod gateway;
mod http;
mod key_file;
mod metrics;
mod models;
mod ops;
mod picture;
mod pinecone;
mod plugin_host;
mod plugin_log;
mod plugin_models;
mod seed;
mod text;
mod traces;
mod voice;

fn main() -> std::process::ExitCode {
    // The one that everything here encrypts with. It can only be there already if this were not the first line.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::run()
}

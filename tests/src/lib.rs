//! The harness: a real server in a directory of its own, users who talk to it by HTTP and WebSocket.
//!
//! A test that leaves an error in the server's log fails, unless it said that it expects one. So does one that gets
//! an answer or a frame which the server's OpenAPI document does not describe.

mod backup;
mod client;
mod component;
mod contract;
mod examples;
pub mod fake;
mod lossy;
mod names;
pub mod networks;
mod outside;
pub mod plugins;
pub mod postgres;
mod raw;
mod s3;
mod server;
mod socket;

pub use backup::Backup;
pub use client::{Answer, User, anonymous};
pub use component::{custom_section, leb, manifest, packed, renamed, repacked, without_manifest};
pub use examples::{example, example_component};
pub use lossy::{Lossy, Weather};
pub use names::NameServer;
pub use outside::{aiortc, chromium, coturn, fuzzer, litellm, slack};
pub use postgres::pgvector;
pub use raw::{Raw, RawAnswer};
pub use s3::{S3, files_below};
pub use server::{Ran, TestApp, command, component, eventually, guest, program};
pub use socket::Socket;

pub use serde_json::{Value, json};

/// Installs what TLS encrypts with, as the server's `main` does. Everything here that may use TLS calls it.
pub(crate) fn install_crypto() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
}

//! The harness: a real server in a directory of its own, users who talk to it by HTTP and WebSocket.
//!
//! A test that leaves an error in the server's log fails, unless it said that it expects one.

mod backup;
mod client;
pub mod postgres;
mod server;
mod socket;

pub use backup::Backup;
pub use client::{Answer, User, anonymous};
pub use server::{TestApp, command, component, guest, program};
pub use socket::Socket;

pub use serde_json::{Value, json};

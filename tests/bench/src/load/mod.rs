//! What puts load on servers: a Patchbay of its own for each benchmark, and clients that cost little themselves, since they
//! share the machine with what is measured.
//!
//! Owns: starting servers and talking to them. Must not: measure.

pub mod bun;
pub mod child;
pub mod http;
pub mod patchbay;
pub mod postgres;
pub mod sockets;

/// Any error; benchmarks end with the first.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// What may fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Allows this process and those that it starts as many open files as the system does.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    // Where this is not allowed to grow, the present bound has to do; a larger run then says that it has too few.
    for most in [hard.map(|hard| hard.max(65_536)), hard] {
        if setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).is_ok() {
            return;
        }
    }
}

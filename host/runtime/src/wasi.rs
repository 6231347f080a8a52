//! WASI 0.2, for guests whose toolchain can't do without: all of it is linked, over a context in which there is
//! nothing. Clocks and random numbers work; what is written to standard output and error becomes lines of the plugin's
//! log; there are no files, arguments or variables, and no sockets can be made.
//!
//! Owns: that context, made when a guest first asks for something of it. Must not: give a guest anything that an
//! operator would have to grant.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::component::Linker;
use wasmtime_wasi::{
    WasiCtx, WasiCtxView, WasiView,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::{
    Host,
    capabilities::log::{LogBudget, LogLevel, MAX_LINE_BYTES, write_line},
    state::CallState,
};

/// Most bytes of random numbers at once, which are the host's until the guest has taken them.
const MAX_RANDOM_BYTES: u64 = 1 << 20;
/// What a guest may write before it asks again.
const WRITE_BYTES: usize = 64 << 10;

/// The packages of WASI that are linked, as they stand before the slash of an import.
const PACKAGES: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];

/// Whether an import is of the part of WASI that is here for everybody.
pub(crate) fn is_free(import: &str) -> bool {
    let parts = import.strip_prefix("wasi:").and_then(|rest| rest.split_once('/'));
    parts.is_some_and(|(package, rest)| {
        let version = rest.split_once('@').map(|(_, version)| version);
        PACKAGES.contains(&package) && version.is_some_and(|version| version.starts_with("0.2."))
    })
}

/// Links all of it.
pub(crate) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Self { wasi, host, plugin, log, table, .. } = self;
        let ctx = wasi.get_or_insert_with(|| Box::new(context(host, plugin, log)));
        WasiCtxView { ctx, table }
    }
}

fn context(host: &Arc<dyn Host>, plugin: &Arc<str>, budget: &LogBudget) -> WasiCtx {
    let stream = |level| LogStream(Arc::new(Mutex::new(Lines::new(host, plugin, level, budget))));
    let mut builder = WasiCtx::builder();
    // Everything else is empty or refused unless it is asked for; that sockets are refused is said here because
    // WASI's own default is to make them and refuse each address.
    builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    builder.max_random_size(MAX_RANDOM_BYTES);
    builder.stdout(stream(LogLevel::Info)).stderr(stream(LogLevel::Warn));
    builder.build()
}

/// Makes lines of what is written. The last one may lack its end.
struct Lines {
    host: Arc<dyn Host>,
    plugin: Arc<str>,
    level: LogLevel,
    budget: LogBudget,
    /// The beginning of a line, no longer than a line of the log can be.
    begun: Vec<u8>,
}

impl Lines {
    fn new(host: &Arc<dyn Host>, plugin: &Arc<str>, level: LogLevel, budget: &LogBudget) -> Self {
        let (host, plugin) = (Arc::clone(host), Arc::clone(plugin));
        Self { host, plugin, level, budget: budget.clone(), begun: Vec::new() }
    }

    fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = MAX_LINE_BYTES.saturating_sub(self.begun.len());
            self.begun.extend_from_slice(text.get(..room).unwrap_or(text));
            if text.len() < piece.len() {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.begun);
        write_line(&*self.host, &self.plugin, &self.budget, self.level, &String::from_utf8_lossy(&line));
    }
}

/// What a call that ended early wrote last is what its author wants to read.
impl Drop for Lines {
    fn drop(&mut self) {
        if !self.begun.is_empty() {
            self.end_line();
        }
    }
}

/// A standard stream: every handle to it writes to the same lines.
#[derive(Clone)]
struct LogStream(Arc<Mutex<Lines>>);

impl LogStream {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.lines().write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.lines().write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_of_wasi_that_gives_nothing_away_is_free() {
        for free in ["wasi:io/streams@0.2.0", "wasi:cli/stdout@0.2.12", "wasi:sockets/tcp@0.2.6"] {
            assert!(is_free(free), "{free}");
        }
        for other in [
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:keyvalue/store@0.2.0",
            "wasi:io/streams@0.3.0",
            "wasi:io/streams@0.20.0",
            "wasi:io/streams",
            "wasi:io",
            "other:io/streams@0.2.0",
        ] {
            assert!(!is_free(other), "{other}");
        }
    }
}

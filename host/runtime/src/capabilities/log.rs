//! `log`: the plugin's log, which its operator reads.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use wasmtime::component::Linker;

use crate::{
    Host,
    bindings::wit::log as wit,
    state::{CallState, Own, own},
};

/// Most bytes of a line; the rest is cut.
pub(crate) const MAX_LINE_BYTES: usize = 4 << 10;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For the plugin's author.
    Debug,
    /// What an operator may want to know.
    Info,
    /// Something is off.
    Warn,
    /// Something failed.
    Error,
}

/// What the embedder does with lines.
pub trait Log {
    /// Keeps a line of up to 4 KiB, which may contain any character. Must not block.
    fn write(&self, plugin: &str, level: LogLevel, line: &str);
}

/// How much of the call's share is used, by the guest and by what speaks for it.
#[derive(Clone, Debug)]
pub(crate) struct LogBudget {
    lines: Arc<AtomicU32>,
    limit: u32,
}

impl LogBudget {
    pub(crate) fn new(limit: u32) -> Self {
        Self { lines: Arc::default(), limit }
    }

    /// Whether one more line may be written.
    fn take(&self) -> bool {
        // A call has a budget of CPU time: it can't write so many lines that this begins anew.
        self.lines.fetch_add(1, Ordering::Relaxed) < self.limit
    }

    /// A new call's share, for whoever holds this one.
    pub(crate) fn renew(&self) {
        self.lines.store(0, Ordering::Relaxed);
    }

    /// How many lines were cut off.
    pub(crate) fn dropped(&self) -> u32 {
        self.lines.load(Ordering::Relaxed).saturating_sub(self.limit)
    }
}

/// Writes a line, cut to what a line may have, if there is room for it.
pub(crate) fn write_line(host: &dyn Host, plugin: &str, budget: &LogBudget, level: LogLevel, line: &str) {
    if budget.take() {
        let line = line.get(..line.floor_char_boundary(MAX_LINE_BYTES)).unwrap_or_default();
        host.write(plugin, level, line);
    }
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

impl wit::Host for CallState {
    fn write(&mut self, level: wit::Level, message: String) -> wasmtime::Result<()> {
        self.charge_call(message.len())?;
        write_line(&*self.host, &self.plugin, &self.log, level.into(), &message);
        Ok(())
    }
}

impl From<wit::Level> for LogLevel {
    fn from(level: wit::Level) -> Self {
        match level {
            wit::Level::Trace => Self::Trace,
            wit::Level::Debug => Self::Debug,
            wit::Level::Info => Self::Info,
            wit::Level::Warn => Self::Warn,
            wit::Level::Error => Self::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_counted() {
        let budget = LogBudget::new(200);
        let written = (0..207).filter(|_| budget.take()).count();
        assert_eq!((written, budget.dropped()), (200, 7));
    }
}

//! `log`: the plugin's log, which its operator reads.

use wasmtime::component::Linker;

use crate::{
    bindings::wit::log as wit,
    state::{CallState, Own, own},
};

/// Most bytes of a line; the rest is cut.
const MAX_LINE_BYTES: usize = 4 << 10;

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

/// How much of the call's share is used.
#[derive(Debug)]
pub(crate) struct LogBudget {
    lines: u32,
    limit: u32,
}

impl LogBudget {
    pub(crate) fn new(limit: u32) -> Self {
        Self { lines: 0, limit }
    }

    /// Whether one more line may be written.
    fn take(&mut self) -> bool {
        self.lines = self.lines.saturating_add(1);
        self.lines <= self.limit
    }

    /// How many lines were cut off.
    pub(crate) fn dropped(&self) -> u32 {
        self.lines.saturating_sub(self.limit)
    }
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

impl wit::Host for CallState {
    fn write(&mut self, level: wit::Level, message: String) -> wasmtime::Result<()> {
        self.charge_call(message.len())?;
        if self.log.take() {
            let line = message.get(..message.floor_char_boundary(MAX_LINE_BYTES)).unwrap_or_default();
            self.host.write(&self.plugin, level.into(), line);
        }
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
        let mut budget = LogBudget::new(200);
        let written = (0..207).filter(|_| budget.take()).count();
        assert_eq!((written, budget.dropped()), (200, 7));
    }
}

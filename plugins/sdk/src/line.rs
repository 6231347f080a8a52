//! Lines of the plugin's log, written as `println!` writes.
//!
//! Owns: the macros. Must not: keep lines; the operator's log has them, 200 of each call.

use std::fmt::Arguments;

use crate::log::Level;

/// Writes a line. In tests that run on the machine itself, where there is no host, it goes to standard error.
#[doc(hidden)]
pub fn write_line(level: Level, line: Arguments<'_>) {
    #[cfg(target_arch = "wasm32")]
    crate::log::write(level, &line.to_string());
    #[cfg(not(target_arch = "wasm32"))]
    #[allow(clippy::print_stderr, reason = "that is where a test's output belongs")]
    {
        eprintln!("{level:?}: {line}");
    }
}

/// From here on in this call, what a panic says is a line of the log; without it a trap tells where it was, not why. Needs the
/// capability `log`.
///
/// ```
/// use patchbay_sdk::{Draft, Error, Hooks, Verdict};
///
/// struct Filter;
///
/// impl Hooks for Filter {
///     fn before_message(draft: Draft) -> Result<Verdict, Error> {
///         patchbay_sdk::log_panics();
///         let _ = draft;
///         Ok(Verdict::Allow)
///     }
/// }
/// ```
pub fn log_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| write_line(Level::Error, format_args!("{panic}"))));
}

/// Writes a line for the plugin's author: `debug!("{} votes", votes)`. Needs the capability `log`.
#[macro_export]
macro_rules! debug {
    ($($line:tt)+) => { $crate::write_line($crate::log::Level::Debug, ::std::format_args!($($line)+)) };
}

/// Writes a line that an operator may want to know of. Needs the capability `log`.
///
/// ```
/// patchbay_sdk::info!("{} polls were closed", 3);
/// ```
#[macro_export]
macro_rules! info {
    ($($line:tt)+) => { $crate::write_line($crate::log::Level::Info, ::std::format_args!($($line)+)) };
}

/// Writes a line: something is off. Needs the capability `log`.
#[macro_export]
macro_rules! warn {
    ($($line:tt)+) => { $crate::write_line($crate::log::Level::Warn, ::std::format_args!($($line)+)) };
}

/// Writes a line: something failed. Needs the capability `log`.
#[macro_export]
macro_rules! error {
    ($($line:tt)+) => { $crate::write_line($crate::log::Level::Error, ::std::format_args!($($line)+)) };
}

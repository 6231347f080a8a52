//! `log.*`

use super::{declare, value::Value};

declare! {
    /// The server's log, on standard error.
    "log" => Log {
        /// What is logged: a level (error, warn, info, debug, trace) or target=level pairs, comma separated.
        filter: String = "info",
        /// How a line looks: text for people, json for programs.
        format: LogFormat = "text",
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Value for LogFormat {
    const ALLOWED: &'static str = "text or json";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is not allowed; expected {}", Self::ALLOWED)),
        }
    }
    fn placeholder() -> Self {
        Self::Text
    }
}

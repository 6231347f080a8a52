//! `patchbay ai …`

use std::time::Duration;

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::{Settings, operator::Operator, say};
use crate::app::StartError;

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(500);
/// The routes are the plugin's own.
const STATUS: &str = "/api/plugins/ai/status";
const REINDEX: &str = "/api/plugins/ai/reindex";

#[derive(Subcommand)]
pub(super) enum AiCommand {
    /// Embed all messages anew, while the server serves, and wait until it is done. If this is interrupted a server goes on with
    /// it.
    Reindex(Settings),
    /// Show how far the index of meaning is.
    Status(Settings),
}

impl AiCommand {
    pub(super) fn settings(&self) -> &Settings {
        match self {
            Self::Reindex(settings) | Self::Status(settings) => settings,
        }
    }

    pub(super) async fn run(&self, way: &Operator) -> Result<(), StartError> {
        // Without a server the plugin answers in this process.
        way.start_plugins().await?;
        match self {
            Self::Status(_) => {
                let state = way.call(Method::GET, STATUS, None).await?;
                say(&progress(&state));
                let text = |name: &str| state.get(name).and_then(Value::as_str).unwrap_or("nothing yet");
                let count = |name: &str| {
                    state.get(name).and_then(Value::as_u64).map_or("?".to_owned(), |n| n.to_string())
                };
                say(&format!("embedded by {}: {} vectors", text("embedder"), count("vectors")));
                say(&format!("{} messages wait to be looked at", count("waiting")));
            }
            Self::Reindex(_) => {
                let mut state = way.call(Method::POST, REINDEX, None).await?;
                way.start_working();
                let mut shown = String::new();
                loop {
                    let line = progress(&state);
                    if line != shown {
                        say(&line);
                        shown = line;
                    }
                    if state.pointer("/backfill/state").and_then(Value::as_str) == Some("complete") {
                        break;
                    }
                    tokio::time::sleep(LOOK).await;
                    state = way.call(Method::GET, STATUS, None).await?;
                }
            }
        }
        Ok(())
    }
}

fn progress(state: &Value) -> String {
    let Some(run) = state.get("backfill").filter(|run| run.is_object()) else {
        return "messages of before: not begun".to_owned();
    };
    let number = |name: &str| run.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (done, all, messages) = (number("channels_done"), number("channels"), number("messages"));
    match run.get("state").and_then(Value::as_str) {
        Some("complete") => format!("messages of before: complete, {messages} in {all} channels"),
        _ => {
            let why = run.get("error").and_then(Value::as_str);
            let why = why.map_or(String::new(), |why| format!("; it waits: {why}"));
            format!("messages of before: {messages}, {done} of {all} channels{why}")
        }
    }
}

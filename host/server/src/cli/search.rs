//! `patchbay search …`

use std::time::Duration;

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::{Settings, operator::Operator, say};
use crate::app::StartError;

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Subcommand)]
pub(super) enum SearchCommand {
    /// Make the search index anew, while the server serves, and wait until it is done. If this is interrupted a server goes
    /// on with it.
    Reindex(Settings),
    /// Show how far the search index is.
    Status(Settings),
}

impl SearchCommand {
    pub(super) fn settings(&self) -> &Settings {
        match self {
            Self::Reindex(settings) | Self::Status(settings) => settings,
        }
    }

    pub(super) async fn run(&self, way: &Operator) -> Result<(), StartError> {
        match self {
            Self::Status(_) => {
                let state = way.call(Method::GET, "/api/admin/search", None).await?;
                lines(&state).iter().for_each(|line| say(line));
                let count = |name: &str| state.get(name).and_then(Value::as_i64).unwrap_or_default();
                let (waiting, failed) = (count("files_waiting"), count("files_failed"));
                say(&format!("texts of files: {waiting} wait to be read, {failed} can't be read"));
            }
            Self::Reindex(_) => {
                let mut state = way.call(Method::POST, "/api/admin/search/reindex", None).await?;
                way.start_indexing();
                let mut shown = Vec::new();
                loop {
                    for (at, line) in lines(&state).into_iter().enumerate() {
                        if shown.get(at) != Some(&line) {
                            say(&line);
                        }
                        shown.splice(at..(at + 1).min(shown.len()), [line]);
                    }
                    if indexes(&state).all(|index| index.get("is_complete") == Some(&Value::Bool(true))) {
                        break;
                    }
                    tokio::time::sleep(LOOK).await;
                    state = way.call(Method::GET, "/api/admin/search", None).await?;
                }
            }
        }
        Ok(())
    }
}

fn indexes(state: &Value) -> impl Iterator<Item = &Value> {
    state.get("indexes").and_then(Value::as_array).into_iter().flatten()
}

/// A line for each index.
fn lines(state: &Value) -> Vec<String> {
    let line = |index: &Value| {
        let number = |name: &str| index.get(name).and_then(Value::as_i64).unwrap_or_default();
        let name = index.get("name").and_then(Value::as_str).unwrap_or_default();
        if index.get("is_complete") == Some(&Value::Bool(true)) {
            return format!("{name}: complete");
        }
        let (at, until) = (number("at"), number("until").max(1));
        format!("{name}: {} %, at {at} of {until}", at.saturating_mul(100) / until)
    };
    indexes(state).map(line).collect()
}

//! What a component is, whether a server would take it, and whether it runs.

use std::{path::Path, time::Instant};

use patchbay_mock::Command;
use serde_json::Value;

use super::{Host, block_on, load, read};
use crate::cli::{plugin, say};

/// Prints what the component says of itself and wants, then whether it loads; with `host` also what became of a call of
/// each export.
pub(super) fn check(file: &Path, host: Option<&Host>) -> Result<(), String> {
    plugin::print_inspection(file)?;
    let bytes = read(file)?;
    // Compiled even if nothing is called: only then is it known that the imports have the host's types.
    let default = Host { limits: Vec::new(), withhold: Vec::new(), cache: None };
    block_on(async {
        let began = Instant::now();
        let mock = load(file, bytes, host.unwrap_or(&default)).await?;
        say(&format!("it loads ({} ms)", began.elapsed().as_millis()));
        if host.is_none() {
            return Ok(());
        }
        let tried = mock.run(Command::TryAll {}).await.map_err(|error| error.to_string())?;
        let mut failed = 0;
        for one in tried.as_array().into_iter().flatten() {
            let text = |field: &str| one.get(field).and_then(Value::as_str).unwrap_or_default();
            let ok = one.get("ok").and_then(Value::as_bool).unwrap_or_default();
            failed += u32::from(!ok);
            let mark = if ok { "ok    " } else { "FAILED" };
            say(&format!("{mark} {}: {}", text("export"), text("call")));
            if !text("detail").is_empty() {
                say(&format!("       {}", text("detail")));
            }
        }
        let log = mock.run(Command::Log {}).await.map_err(|error| error.to_string())?;
        for line in log.as_array().into_iter().flatten() {
            let text = |field: &str| line.get(field).and_then(Value::as_str).unwrap_or_default();
            say(&format!("log    {}: {}", text("level"), text("message")));
        }
        if failed == 0 { Ok(()) } else { Err(format!("{failed} calls failed")) }
    })
}

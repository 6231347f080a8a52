//! The mock host, one command per line in and one answer per line out, until the input ends.

use std::{
    io::{BufRead as _, Write as _},
    path::Path,
};

use super::{Host, block_on, load, read};

pub(super) fn serve(file: &Path, host: &Host) -> Result<(), String> {
    let bytes = read(file)?;
    block_on(async {
        let mock = load(file, bytes, host).await?;
        let mut out = std::io::stdout().lock();
        let mut told = |line: String| {
            writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| error.to_string())
        };
        // So that whoever started this knows that it was loaded, and how it is called.
        told(serde_json::json!({ "ok": { "plugin": mock.plugin().name() } }).to_string())?;
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|error| error.to_string())?;
            if !line.trim().is_empty() {
                told(mock.answer(&line).await.to_string())?;
            }
        }
        Ok(())
    })
}

//! What is seen of the plugins that serve, for those who watch the server.
//!
//! Owns: nothing; it gathers. Must not: show anything that a plugin keeps or says.

use std::collections::HashMap;

use patchbay_runtime::Counted;

use super::{Deployment, Result};

/// A plugin that serves.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Its name.
    pub plugin: String,
    /// What was counted since the server started.
    pub counted: Counted,
    /// Calls that wait for their turn.
    pub waiting: u32,
    /// Whether it is called; not in quarantine.
    pub serves: bool,
    /// How many entries of the journal come after its cursor; none if it follows no events.
    pub lag: Option<i64>,
    /// How many dead letters it has.
    pub dead_letters: i64,
    /// Tokens of models that it has used today.
    pub llm_tokens_today: i64,
}

impl Deployment {
    /// All plugins that serve, by name.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn observe(&self) -> Result<Vec<Observed>> {
        let mut conn = self.0.ops.store().read().await?;
        let head = conn.journal_head().await?.0;
        let cursors: HashMap<_, _> =
            conn.cursors().await?.into_iter().map(|row| (row.plugin, row.seq)).collect();
        let letters: HashMap<_, _> = conn.dead_letter_counts().await?.into_iter().collect();
        drop(conn);
        let tokens = self.0.ops.llm_usages().await?;
        let observed = |plugin: std::sync::Arc<patchbay_runtime::Plugin>| Observed {
            counted: plugin.stats().read(),
            waiting: plugin.waiting_calls(),
            serves: !plugin.is_quarantined(),
            lag: cursors.get(plugin.name()).map(|seq| (head - seq).max(0)),
            dead_letters: letters.get(plugin.name()).copied().unwrap_or(0),
            llm_tokens_today: tokens.get(plugin.name()).copied().unwrap_or(0),
            plugin: plugin.name().to_owned(),
        };
        Ok(self.0.runtime.active().into_iter().map(observed).collect())
    }
}

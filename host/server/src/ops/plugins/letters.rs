//! Dead letters and history: what an operator lets a plugin hear again.

use std::time::Duration;

use patchbay_core::{ChannelId, Timestamp, UserId};
use patchbay_runtime::{CallError, DueJob, EventEntry, EventOutcome, Plugin};
use patchbay_store::{CursorRow, DeadLetterRow};
use serde_json::{Value, json};

use super::{Admin, Deployment, Error, Result, Thing};
use crate::ops::{PageOf, PageRequest, access::demand_superuser, audit::record};

/// Most letters that are delivered by one request.
const AT_ONCE: i64 = 100;
/// How long one request may go on delivering.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of letters that were delivered again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redelivered {
    /// Handled at last.
    pub redelivered: u32,
    /// Failed again; they are still there.
    pub failed: u32,
    /// Not tried: there were too many, no time was left, or the plugin takes no calls.
    pub left: u32,
}

/// Why a letter is still there.
enum Undelivered {
    /// The plugin takes no calls at this moment.
    Busy,
    /// It has failed again.
    Failed(String),
}

impl Deployment {
    /// What a plugin could not handle, newest first.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`].
    pub async fn dead_letters(
        &self,
        by: &Admin,
        name: &str,
        page: PageRequest,
    ) -> Result<PageOf<DeadLetterRow>> {
        demand_superuser(&by.actor)?;
        self.row(name).await?.ok_or(Error::NotFound(Thing::Plugin))?;
        let mut conn = self.0.ops.store().read().await?;
        Ok(page.page(conn.dead_letters(name, &page.query()).await?, true))
    }

    /// Delivers letters again, the oldest first: all, or those of these ids.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`]; [`Error::Conflict`] with `plugin_not_serving`.
    pub async fn redeliver(&self, by: &Admin, name: &str, ids: Option<Vec<i64>>) -> Result<Redelivered> {
        by.demand()?;
        self.row(name).await?.ok_or(Error::NotFound(Thing::Plugin))?;
        let plugin = self.0.runtime.get(name).filter(|plugin| !plugin.is_quarantined());
        let plugin = plugin
            .ok_or_else(|| Error::Conflict("plugin_not_serving", "the plugin does not serve".into()))?;
        let mut conn = self.0.ops.store().read().await?;
        let found = conn.dead_letters_to_redeliver(name, ids.as_deref(), AT_ONCE + 1).await?;
        drop(conn);
        let (told_by, target, asked) = (by.clone(), format!("plugin:{name}"), found.len());
        self.0
            .ops
            .store()
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    let detail = json!({ "letters": asked });
                    record(tx, &told_by, "plugin.redelivered", target, detail, Timestamp::now()).await?;
                    Ok(())
                })
            })
            .await?;
        let until = tokio::time::Instant::now() + PATIENCE;
        let mut done = Redelivered::default();
        for (at, letter) in found.into_iter().enumerate() {
            if at >= AT_ONCE as usize || tokio::time::Instant::now() >= until {
                done.left += 1;
                continue;
            }
            let id = letter.id;
            let error = match self.may_hear(&plugin, &letter).await? {
                true => match self.deliver(&plugin, letter).await {
                    // Nothing was tried.
                    Err(Undelivered::Busy) => {
                        done.left += 1;
                        continue;
                    }
                    Err(Undelivered::Failed(why)) => Some(why),
                    Ok(()) => None,
                },
                false => Some("its bot is no longer a member of the channel".to_owned()),
            };
            if error.is_none() {
                done.redelivered += 1;
            } else {
                done.failed += 1;
            }
            let owner = name.to_owned();
            self.0
                .ops
                .store()
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move {
                        match error {
                            None => tx.delete_dead_letter(&owner, id).await.map(drop)?,
                            Some(error) => tx.update_dead_letter(id, &error).await?,
                        }
                        Ok(())
                    })
                })
                .await?;
        }
        Ok(done)
    }

    /// Whether it would hear of it today.
    async fn may_hear(&self, plugin: &Plugin, letter: &DeadLetterRow) -> Result<bool> {
        let Some(channel) = letter.channel_id else { return Ok(true) };
        if plugin.grants().capabilities.contains("events:all") {
            return Ok(true);
        }
        let mut conn = self.0.ops.store().read().await?;
        let Some(bot) = conn.plugin_bot(plugin.name()).await?.flatten() else { return Ok(false) };
        let found = conn.channel_and_role(ChannelId(channel), Some(bot)).await?;
        Ok(found.is_some_and(|(_, role)| role.is_some()))
    }

    async fn deliver(&self, plugin: &Plugin, letter: DeadLetterRow) -> std::result::Result<(), Undelivered> {
        let told = |error: CallError| match error {
            CallError::Busy { .. } | CallError::Quarantined => Undelivered::Busy,
            error => Undelivered::Failed(format!("{}: {error}", error.code())),
        };
        if letter.kind == "job" {
            let job: Value = serde_json::from_str(&letter.payload).unwrap_or_default();
            let text = |key: &str| job.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let attempt = u32::try_from(letter.attempts.saturating_add(1)).unwrap_or(u32::MAX);
            let due = DueJob {
                id: text("id"),
                payload: text("payload"),
                due: letter.at,
                attempt,
                depth: u8::try_from(letter.depth).unwrap_or(u8::MAX),
            };
            return self.0.runtime.run_job(plugin, due).await.map_err(told);
        }
        let entry = EventEntry {
            seq: letter.seq.unwrap_or(0),
            kind: letter.kind,
            channel: letter.channel_id.map(ChannelId),
            actor: letter.actor_id.map(UserId),
            at: letter.at,
            depth: u8::try_from(letter.depth).unwrap_or(u8::MAX),
            origin: letter.origin,
            history: letter.seq == Some(0),
            payload: letter.payload,
        };
        match self.0.runtime.tell(plugin, vec![entry]).await.map_err(told)?.into_iter().next() {
            Some(EventOutcome::Ok) => Ok(()),
            Some(EventOutcome::Reject(why)) => Err(Undelivered::Failed(format!("rejected: {why}"))),
            Some(EventOutcome::Retry(why)) => Err(Undelivered::Failed(why)),
            None => Err(Undelivered::Failed("it has no outcome".to_owned())),
        }
    }

    /// Has history told to a plugin: every message that it may see, the oldest first, beside what happens meanwhile. From
    /// the start if it is being told already.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`]; [`Error::Conflict`] with `no_events` if it follows none.
    pub async fn backfill(&self, by: &Admin, name: &str) -> Result<()> {
        by.demand()?;
        self.row(name).await?.ok_or(Error::NotFound(Thing::Plugin))?;
        let mut conn = self.0.ops.store().read().await?;
        let plugin = self.0.runtime.get(name).filter(|plugin| plugin.follows_events());
        let plugin =
            plugin.filter(|p| p.manifest().events.iter().any(|kinds| kinds.covers("message.created")));
        let Some(plugin) = plugin else {
            return Err(Error::Conflict(
                "no_events",
                "the plugin does not serve or does not follow message.created".into(),
            ));
        };
        let hears_all = plugin.grants().capabilities.contains("events:all");
        let own = conn.plugin_bot(name).await?.flatten();
        let bot = if hears_all { None } else { own };
        let (until, total) = conn.past_extent(bot, own).await?;
        drop(conn);
        let (by, owner) = (by.clone(), name.to_owned());
        self.0
            .ops
            .store()
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    let now = Timestamp::now();
                    let cursor = tx.cursor(&owner).await?.ok_or(Error::NotFound(Thing::Plugin))?;
                    let row = CursorRow {
                        history_at: Some(0),
                        history_until: Some(until),
                        history_total: total,
                        history_done: 0,
                        history_attempts: 0,
                        history_retry_at: None,
                        updated_at: now.0,
                        ..cursor
                    };
                    tx.put_cursor(&row).await?;
                    let detail = json!({ "messages": total });
                    record(tx, &by, "plugin.backfill", format!("plugin:{owner}"), detail, now).await?;
                    Ok(())
                })
            })
            .await?;
        self.followers().look(self, name);
        Ok(())
    }
}

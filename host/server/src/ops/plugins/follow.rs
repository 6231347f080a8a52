//! What happened, told to plugins: one worker per plugin that follows events, from its durable cursor, in order, at
//! least once.
//!
//! Owns: the worker and its cursor. A plugin that is slow or fails delays only itself. Must not: keep the journal from
//! being pruned; a plugin that was away for too long is told to start anew.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use patchbay_core::{Event, MAX_DEPTH, MessageId, Seq, Timestamp, UserId};
use patchbay_runtime::{CallError, EVENT_BATCH, EventEntry, EventKinds, EventOutcome, Plugin};
use patchbay_store::{Conn, CursorRow, Entry, NewDeadLetter, StoreError, Wanted};
use tokio::{sync::Notify, task::AbortHandle, time::Instant};

use super::{Deployment, letters::MAX_DEAD_LETTERS};

/// Rows that are read at once.
const PAGE: i64 = EVENT_BATCH as i64;
/// How long a worker waits where nothing wakes it: the database is away, the plugin is busy.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How often a cursor that moved past what does not concern its plugin is written down.
const KEEP_EVERY: Duration = Duration::from_secs(30);

/// The workers, by plugin.
#[derive(Debug, Default)]
pub(super) struct Followers(BTreeMap<String, Follower>);

#[derive(Debug)]
struct Follower {
    task: AbortHandle,
    look: Arc<Notify>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Followers {
    /// A plugin serves in another version, or something about its cursor has changed: its worker looks again, and is
    /// started if there is none.
    pub fn look(&mut self, deployment: &Deployment, plugin: &str) {
        if let Some(follower) = self.0.get(plugin).filter(|follower| !follower.task.is_finished()) {
            follower.look.notify_one();
            return;
        }
        let look = Arc::new(Notify::new());
        let worker = Worker {
            deployment: deployment.clone(),
            plugin: plugin.to_owned(),
            look: Arc::clone(&look),
            passed: 0,
            kept_at: Instant::now(),
            careful: 0,
        };
        let task = tokio::spawn(worker.run()).abort_handle();
        self.0.insert(plugin.to_owned(), Follower { task, look });
    }

    /// A plugin serves no more.
    pub fn stop(&mut self, plugin: &str) {
        self.0.remove(plugin);
    }

    /// None serves any more.
    pub fn stop_all(&mut self) {
        self.0.clear();
    }
}

struct Worker {
    deployment: Deployment,
    plugin: String,
    look: Arc<Notify>,
    /// Nothing up to here concerns the plugin; at least its cursor.
    passed: i64,
    kept_at: Instant,
    /// How many entries are to be told one by one, because the batch that they were in failed.
    careful: usize,
}

/// What a worker does after a step.
enum Next {
    /// Go on.
    Now,
    /// Wait until something happens, or for so long.
    Wait(Duration),
}

/// Where a batch came from.
enum Source {
    Journal,
    History,
}

/// An entry on its way, and what a dead letter needs beside it.
struct Told {
    entry: EventEntry,
    message_id: Option<MessageId>,
    /// Where the cursor stands once it is done with.
    position: i64,
}

type Fallible<T> = Result<T, StoreError>;

impl Worker {
    async fn run(mut self) {
        let mut head = self.deployment.0.ops.store().head();
        loop {
            head.mark_unchanged();
            let next = match self.step().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(plugin = %self.plugin, %error, "its events wait for the database");
                    Next::Wait(PAUSE)
                }
            };
            let Next::Wait(pause) = next else { continue };
            tokio::select! {
                () = self.look.notified() => {}
                changed = head.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn step(&mut self) -> Fallible<Next> {
        let Some(plugin) = self.deployment.0.runtime.get(&self.plugin).filter(|p| p.follows_events()) else {
            return Ok(Next::Wait(LONGEST_PAUSE));
        };
        let mut conn = self.deployment.0.ops.store().read().await?;
        let Some(cursor) = conn.cursor(&self.plugin).await? else { return Ok(Next::Wait(LONGEST_PAUSE)) };
        if plugin.is_quarantined() {
            return Ok(Next::Wait(LONGEST_PAUSE));
        }
        let now = Timestamp::now();
        self.passed = self.passed.max(cursor.seq);
        let bot = conn.plugin_bot(&self.plugin).await?.flatten();
        let Some(wanted) = self.wanted(&plugin, active(&mut conn, bot).await?) else {
            return Ok(Next::Wait(LONGEST_PAUSE));
        };
        let mut wait = KEEP_EVERY;
        if let Some(pause) = remaining(cursor.retry_at, now) {
            // New events change nothing about when the old one is tried again.
            wait = wait.min(pause);
        } else {
            let until = conn.journal_head().await?;
            let found = if until.0 > self.passed {
                conn.journal_of_plugin(&wanted, Seq(self.passed), until, PAGE).await?
            } else {
                Vec::new()
            };
            // After the page, since pruning doesn't wait for it: what it could have missed is below the floor.
            let floor = conn.journal_floor().await?;
            if self.passed < floor.0 {
                drop(conn);
                return self.resync(&plugin, cursor, floor).await;
            }
            if !found.is_empty() {
                drop(conn);
                let told = found.into_iter().map(of_journal).collect();
                return self.tell(&plugin, cursor, told, Source::Journal).await;
            }
            self.passed = until.0;
        }
        if let (Some(at), Some(last)) = (cursor.history_at, cursor.history_until) {
            match remaining(cursor.history_retry_at, now) {
                Some(pause) => wait = wait.min(pause),
                None => {
                    let (from, to) = (MessageId(at), MessageId(last));
                    let past = conn.past_messages(wanted.bot, bot, from, to, PAGE).await?;
                    drop(conn);
                    if past.is_empty() {
                        let done = CursorRow { history_until: None, ..cursor.clone() };
                        self.keep(&cursor, done, Vec::new()).await?;
                        return Ok(Next::Now);
                    }
                    let told = past.into_iter().map(of_history).collect();
                    return self.tell(&plugin, cursor, told, Source::History).await;
                }
            }
        } else {
            drop(conn);
        }
        if self.passed > cursor.seq && self.kept_at.elapsed() >= KEEP_EVERY {
            let moved = CursorRow { seq: self.passed, ..cursor.clone() };
            self.keep(&cursor, moved, Vec::new()).await?;
        }
        Ok(Next::Wait(wait))
    }

    /// What it hears of: all, if that is granted, or what its bot may see. None while it has no bot.
    fn wanted(&self, plugin: &Plugin, bot: Option<UserId>) -> Option<Wanted> {
        let hears_all = plugin.grants().capabilities.contains("events:all");
        if !hears_all && bot.is_none() {
            return None;
        }
        let kinds = &plugin.manifest().events;
        Some(Wanted {
            plugin: self.plugin.clone(),
            all_kinds: kinds.contains(&EventKinds::All),
            kinds: kinds
                .iter()
                .filter_map(|kinds| match kinds {
                    EventKinds::All => None,
                    EventKinds::Below(prefix) => Some(prefix.clone()),
                    EventKinds::One(name) => Some(name.clone()),
                })
                .collect(),
            bot: if hears_all { None } else { bot },
        })
    }

    /// Events that it never heard of are gone.
    async fn resync(&mut self, plugin: &Plugin, cursor: CursorRow, floor: Seq) -> Fallible<Next> {
        // After a restore it is the rule.
        tracing::warn!(
            plugin = %self.plugin, from = cursor.seq, to = floor.0,
            "events that this plugin has not heard of were pruned; it is told to start anew"
        );
        match self.deployment.0.runtime.resync(plugin, floor.0 + 1).await {
            Ok(()) => {
                let note = format!("missed the events from {} to {}", cursor.seq + 1, floor.0);
                let moved = CursorRow {
                    seq: floor.0,
                    attempts: 0,
                    retry_at: None,
                    last_error: Some(note),
                    ..cursor.clone()
                };
                self.passed = floor.0;
                self.keep(&cursor, moved, Vec::new()).await?;
                Ok(Next::Now)
            }
            Err(CallError::Busy { .. } | CallError::Quarantined) => Ok(Next::Wait(PAUSE)),
            Err(error) => {
                let later = put_off(plugin, cursor.clone(), &Source::Journal, error.to_string());
                self.keep(&cursor, later, Vec::new()).await?;
                Ok(Next::Now)
            }
        }
    }

    /// Tells a batch and settles what became of it.
    async fn tell(
        &mut self,
        plugin: &Plugin,
        cursor: CursorRow,
        mut told: Vec<Told>,
        source: Source,
    ) -> Fallible<Next> {
        let depth = told.first().map_or(0, |first| first.entry.depth);
        let same = told.iter().take_while(|told| told.entry.depth == depth).count();
        let alone = failures(&cursor, &source) > 0 || self.careful > 0;
        told.truncate(if alone { 1 } else { same });
        let entries = told.iter().map(|told| told.entry.clone()).collect();
        let outcomes = match self.deployment.0.runtime.tell(plugin, entries).await {
            Ok(outcomes) => outcomes,
            Err(CallError::Busy { .. } | CallError::Quarantined) => return Ok(Next::Wait(PAUSE)),
            Err(_) if told.len() > 1 => {
                // One of them is the culprit: they come again one by one, so that it fails alone.
                self.careful = told.len();
                return Ok(Next::Now);
            }
            Err(error) => vec![EventOutcome::Retry(format!("{}: {error}", error.code()))],
        };
        let (settled, dead) = self.settle(plugin, cursor.clone(), told, outcomes, &source);
        self.keep(&cursor, settled, dead).await?;
        Ok(Next::Now)
    }

    fn settle(
        &mut self,
        plugin: &Plugin,
        mut cursor: CursorRow,
        told: Vec<Told>,
        outcomes: Vec<EventOutcome>,
        source: &Source,
    ) -> (CursorRow, Vec<NewDeadLetter>) {
        let most = i64::from(plugin.limits().event_attempts);
        let mut dead = Vec::new();
        // Without any it has not even done the first; with fewer than there are entries, the rest was not its turn.
        let outcomes = match outcomes.as_slice() {
            [] => vec![EventOutcome::Retry("it has no outcome".into())],
            _ => outcomes,
        };
        for (told, outcome) in told.into_iter().zip(outcomes) {
            let attempts = failures(&cursor, source) + 1;
            match outcome {
                EventOutcome::Ok => {}
                EventOutcome::Reject(why) => {
                    dead.push(dead_letter(&self.plugin, &told, format!("rejected: {why}"), attempts));
                }
                EventOutcome::Retry(why) if attempts >= most => {
                    dead.push(dead_letter(&self.plugin, &told, why, attempts));
                }
                EventOutcome::Retry(why) => return (put_off(plugin, cursor, source, why), dead),
            }
            match source {
                Source::Journal => {
                    cursor.seq = told.position;
                    self.passed = self.passed.max(told.position);
                    (cursor.attempts, cursor.retry_at) = (0, None);
                }
                Source::History => {
                    cursor.history_at = Some(told.position);
                    cursor.history_done += 1;
                    (cursor.history_attempts, cursor.history_retry_at) = (0, None);
                }
            }
            self.careful = self.careful.saturating_sub(1);
        }
        (cursor, dead)
    }

    /// Writes down how far it is. `read` is the cursor as it was: what an operator has changed since stays changed.
    async fn keep(&mut self, read: &CursorRow, cursor: CursorRow, dead: Vec<NewDeadLetter>) -> Fallible<()> {
        self.kept_at = Instant::now();
        for letter in &dead {
            let (plugin, kind, error) = (&letter.plugin, &letter.kind, &letter.error);
            tracing::warn!(plugin, kind, seq = letter.seq, error, "an event became a dead letter");
        }
        let (now, read) = (Timestamp::now(), read.clone());
        self.deployment
            .0
            .ops
            .store()
            .write(move |tx| {
                Box::pin(async move {
                    let Some(present) = tx.cursor(&cursor.plugin).await? else { return Ok(()) };
                    let mut row = CursorRow { updated_at: now.0, ..cursor };
                    let history = |row: &CursorRow| (row.history_at, row.history_until, row.history_done);
                    if history(&present) != history(&read) {
                        // It has been asked for anew.
                        row.history_at = present.history_at;
                        row.history_until = present.history_until;
                        row.history_total = present.history_total;
                        row.history_done = present.history_done;
                        row.history_attempts = present.history_attempts;
                        row.history_retry_at = present.history_retry_at;
                    }
                    tx.put_cursor(&row).await?;
                    for mut letter in dead {
                        if let Some(id) = letter.message_id {
                            // It may have been deleted while the plugin had it.
                            let present =
                                tx.message(id).await?.filter(|message| message.deleted_at.is_none());
                            if present.is_none() {
                                letter.payload = format!("{{\"id\":{}}}", id.0);
                            }
                        }
                        tx.insert_dead_letter(&letter, MAX_DEAD_LETTERS, now).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}

/// The bot, unless an operator has deactivated it.
async fn active(conn: &mut Conn, bot: Option<UserId>) -> Fallible<Option<UserId>> {
    let Some(bot) = bot else { return Ok(None) };
    Ok(conn.user(bot).await?.filter(|user| user.is_active).map(|user| user.id))
}

/// How long it is until then, if that lies ahead.
fn remaining(at: Option<i64>, now: Timestamp) -> Option<Duration> {
    let wait = at?.saturating_sub(now.0);
    (wait > 0).then(|| Duration::from_millis(wait.unsigned_abs()))
}

fn failures(cursor: &CursorRow, source: &Source) -> i64 {
    match source {
        Source::Journal => cursor.attempts,
        Source::History => cursor.history_attempts,
    }
}

fn put_off(plugin: &Plugin, mut cursor: CursorRow, source: &Source, why: String) -> CursorRow {
    let attempts = failures(&cursor, source);
    let pause = pause_after(plugin.limits().event_backoff, attempts);
    let retry_at = Some(Timestamp::now().0.saturating_add(pause));
    match source {
        Source::Journal => (cursor.attempts, cursor.retry_at) = (attempts + 1, retry_at),
        Source::History => (cursor.history_attempts, cursor.history_retry_at) = (attempts + 1, retry_at),
    }
    cursor.last_error = Some(why);
    cursor
}

/// Milliseconds before the next attempt after so many failures.
pub(super) fn pause_after(first: Duration, failures: i64) -> i64 {
    let doublings = u32::try_from(failures.clamp(0, 30)).unwrap_or(0);
    let pause = first.saturating_mul(1 << doublings).min(LONGEST_PAUSE.max(first));
    i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)
}

fn of_journal(entry: Entry) -> Told {
    Told {
        message_id: entry.message_id,
        position: entry.seq.0,
        entry: EventEntry {
            seq: entry.seq.0,
            kind: entry.kind,
            channel: entry.channel_id,
            actor: entry.actor_id,
            at: entry.created_at.0,
            depth: entry.depth.min(MAX_DEPTH),
            origin: entry.origin,
            history: false,
            payload: entry.payload,
        },
    }
}

fn of_history(message: patchbay_core::Message) -> Told {
    let (id, channel, actor, at) = (message.id, message.channel_id, message.sender.id, message.created_at.0);
    Told {
        message_id: Some(id),
        position: id.0,
        entry: EventEntry {
            seq: 0,
            kind: "message.created".to_owned(),
            channel: Some(channel),
            actor: Some(actor),
            at,
            depth: 0,
            origin: None,
            history: true,
            payload: patchbay_protocol::event_data(&Event::MessageCreated(message)),
        },
    }
}

fn dead_letter(plugin: &str, told: &Told, error: String, attempts: i64) -> NewDeadLetter {
    let entry = &told.entry;
    NewDeadLetter {
        plugin: plugin.to_owned(),
        kind: entry.kind.clone(),
        seq: Some(entry.seq),
        channel_id: entry.channel.map(|id| id.0),
        message_id: told.message_id,
        actor_id: entry.actor.map(|id| id.0),
        origin: entry.origin.clone(),
        depth: entry.depth,
        payload: entry.payload.clone(),
        at: entry.at,
        error,
        attempts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_minutes() {
        let pauses = [0, 1, 2, 9, 10, 60].map(|failures| pause_after(Duration::from_secs(1), failures));
        assert_eq!(pauses, [1_000, 2_000, 4_000, 512_000, 600_000, 600_000]);
        assert_eq!(pause_after(Duration::from_secs(3_600), 3), 3_600_000);
    }
}

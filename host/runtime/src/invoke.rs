//! The calls that are no requests: events, hooks, commands, jobs, lifecycle. Each a permit, a fresh instance, its
//! budget, one call.
//!
//! Owns: the conversion between the host's types and the contract's. Must not: retry, or decide what a failure means.

use std::time::Duration;

use patchbay_core::{Actor, ChannelId, MessageId, UserId};

use crate::{
    CallError, Moment,
    bindings::{commands_export, hooks_export, jobs_export, wit::event_types},
    call::{Call, Context, measured, within},
    limits::Budget,
    load::Plugin,
    permits::{Permit, Permits},
    state::{id_out, shortened},
    stats::CallKind,
};

/// Most entries of a batch (`wit/events.wit`).
pub const EVENT_BATCH: usize = 64;

/// Something that has happened, on its way to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventEntry {
    /// Its place in the journal; 0 in history.
    pub seq: i64,
    /// Its name.
    pub kind: String,
    /// Where.
    pub channel: Option<ChannelId>,
    /// Who did it.
    pub actor: Option<UserId>,
    /// When, in ms.
    pub at: i64,
    /// How many plugins stand between a person and it.
    pub depth: u8,
    /// The plugin through which it was done.
    pub origin: Option<String>,
    /// It is told of again.
    pub history: bool,
    /// A JSON object.
    pub payload: String,
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// It is done with.
    Ok,
    /// It is to come again, and why.
    Retry(String),
    /// It never will be handled, and why.
    Reject(String),
}

/// A message that is not stored yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What is about to happen.
    pub moment: Moment,
    /// Which message is edited.
    pub message: Option<MessageId>,
    /// Where.
    pub channel: ChannelId,
    /// Who posts or edits.
    pub author: UserId,
    /// Whether a bot does.
    pub is_bot: bool,
    /// What it replies to.
    pub parent: Option<MessageId>,
    /// Its text.
    pub content: String,
    /// How many files come with it.
    pub files: usize,
    /// How many plugins stand between a person and it.
    pub depth: u8,
}

/// What a hook makes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it is.
    Allow,
    /// It goes on with this text.
    Replace(String),
    /// It is not stored.
    Refuse {
        /// Stable snake_case, checked.
        code: String,
        /// A sentence for the author.
        detail: String,
    },
}

/// A job that has come due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueJob {
    /// The id it was scheduled under.
    pub id: String,
    /// What was scheduled with it.
    pub payload: String,
    /// When it came due, in ms.
    pub due: i64,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// How many plugins stand between a person and what it does.
    pub depth: u8,
}

/// Most characters of a command's answer (`wit/commands.wit`).
const REPLY_CHARS: usize = 8_000;

fn absent(export: CallKind) -> CallError {
    CallError::InvalidResponse(format!("the plugin has no export {}", export.as_str()))
}

/// A call within its budget, and `models` beyond it while it waits for those. It begins once it has its permit: to wait for
/// that is no failure of the plugin's.
async fn in_turn<T>(
    permits: &Permits,
    budget: Budget,
    models: Duration,
    work: impl AsyncFnOnce(Permit) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let permit = permits.acquire().await?;
    within(budget, models, work(permit)).await
}

pub(crate) async fn events(
    context: &Context,
    plugin: &Plugin,
    entries: Vec<EventEntry>,
) -> Result<Vec<EventOutcome>, CallError> {
    let budget = plugin.limits.events;
    let work = async |permit| {
        let export = plugin.exports.events.as_ref().ok_or_else(|| absent(CallKind::Events))?;
        let depth = entries.iter().map(|entry| entry.depth).max().unwrap_or(0).saturating_add(1);
        let asked = entries.len();
        let mut call = Call::start(context, plugin, budget.cpu, depth, Some(permit)).await?;
        let guest = export.load(&mut call.store, &call.instance)?;
        let entries: Vec<_> = entries.into_iter().map(event_types::Entry::from).collect();
        let answered = guest.patchbay_plugin_events().call_handle(&mut call.store, &entries).await;
        let outcomes = call.end(plugin, answered)?.map_err(|error| CallError::Refused(error.into()))?;
        if outcomes.len() > asked {
            return Err(CallError::InvalidResponse(format!(
                "it has {} outcomes for {asked} entries",
                outcomes.len()
            )));
        }
        Ok(outcomes.into_iter().map(EventOutcome::from).collect())
    };
    measured(
        context,
        plugin,
        CallKind::Events,
        in_turn(&plugin.permits, budget, plugin.limits.llm_wait, work),
    )
    .await
}

pub(crate) async fn hook(context: &Context, plugin: &Plugin, draft: Draft) -> Result<Verdict, CallError> {
    let budget = plugin.limits.hook;
    let work = async |permit| {
        let export = plugin.exports.hooks.as_ref().ok_or_else(|| absent(CallKind::Hook))?;
        let depth = draft.depth.saturating_add(1);
        let mut call = Call::start(context, plugin, budget.cpu, depth, Some(permit)).await?;
        let guest = export.load(&mut call.store, &call.instance)?;
        let draft = hooks_export::Draft::from(draft);
        let answered = guest.patchbay_plugin_hooks().call_before_message(&mut call.store, &draft).await;
        let answered = call.end(plugin, answered)?;
        verdict(answered.map_err(|error| CallError::Refused(error.into()))?)
    };
    measured(context, plugin, CallKind::Hook, in_turn(&plugin.hook_permits, budget, Duration::ZERO, work))
        .await
}

fn verdict(verdict: hooks_export::Verdict) -> Result<Verdict, CallError> {
    match verdict {
        hooks_export::Verdict::Allow => Ok(Verdict::Allow),
        hooks_export::Verdict::Replace(content) => Ok(Verdict::Replace(content)),
        hooks_export::Verdict::Refuse(hooks_export::Refusal { code, detail }) => {
            let of_a_code = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            let valid = (1..=64).contains(&code.len()) && code.bytes().all(of_a_code);
            let code = if valid { code } else { "message_refused".to_owned() };
            Ok(Verdict::Refuse { code, detail: shortened(&detail) })
        }
        hooks_export::Verdict::Other(_) => {
            Err(CallError::InvalidResponse("this host does not know that verdict".to_owned()))
        }
    }
}

pub(crate) async fn command(
    context: &Context,
    plugin: &Plugin,
    caller: Actor,
    command: &str,
    text: &str,
    channel: ChannelId,
) -> Result<Option<String>, CallError> {
    let budget = plugin.limits.command;
    let work = async |permit| {
        let export = plugin.exports.commands.as_ref().ok_or_else(|| absent(CallKind::Command))?;
        let depth = caller.depth().saturating_add(1);
        let mut call = Call::start(context, plugin, budget.cpu, depth, Some(permit)).await?;
        let guest = export.load(&mut call.store, &call.instance)?;
        let lent = call.store.data_mut().lend_caller(caller)?;
        let invocation = commands_export::Invocation {
            command: command.to_owned(),
            text: text.to_owned(),
            channel: id_out(channel.0),
        };
        let answered = guest.patchbay_plugin_commands().call_run(&mut call.store, lent, &invocation).await;
        let reply = call.end(plugin, answered)?.map_err(|error| CallError::Refused(error.into()))?;
        match reply.text {
            Some(text) if text.chars().count() > REPLY_CHARS => {
                Err(CallError::InvalidResponse(format!("its answer has more than {REPLY_CHARS} characters")))
            }
            text => Ok(text),
        }
    };
    measured(
        context,
        plugin,
        CallKind::Command,
        in_turn(&plugin.permits, budget, plugin.limits.llm_wait, work),
    )
    .await
}

pub(crate) async fn job(context: &Context, plugin: &Plugin, job: DueJob) -> Result<(), CallError> {
    let budget = plugin.limits.job;
    let work = async |permit| {
        let export = plugin.exports.jobs.as_ref().ok_or_else(|| absent(CallKind::Job))?;
        let mut call = Call::start(context, plugin, budget.cpu, job.depth.max(1), Some(permit)).await?;
        let guest = export.load(&mut call.store, &call.instance)?;
        let job = jobs_export::DueJob {
            id: job.id,
            payload: job.payload,
            due: id_out(job.due),
            attempt: job.attempt,
        };
        let answered = guest.patchbay_plugin_jobs().call_run(&mut call.store, &job).await;
        call.end(plugin, answered)?.map_err(|error| CallError::Refused(error.into()))
    };
    measured(context, plugin, CallKind::Job, in_turn(&plugin.permits, budget, plugin.limits.llm_wait, work))
        .await
}

/// What is told of a plugin's own changes.
pub(crate) enum Change {
    /// It is about to serve in place of this version.
    Activate(Option<String>),
    /// It missed events before this place of the journal.
    Resync(i64),
}

pub(crate) async fn lifecycle(context: &Context, plugin: &Plugin, change: Change) -> Result<(), CallError> {
    let Some(export) = &plugin.exports.lifecycle else { return Ok(()) };
    let budget = plugin.limits.activate;
    let work = async |permit| {
        let mut call = Call::fresh(context, plugin, budget.cpu, 1, Some(permit)).await?;
        let guest = export.load(&mut call.store, &call.instance)?;
        let guest = guest.patchbay_plugin_lifecycle();
        let answered = match change {
            Change::Activate(previous) => {
                call.store.data_mut().allow_one_commit();
                guest.call_activate(&mut call.store, previous.as_deref()).await
            }
            Change::Resync(next) => guest.call_resync(&mut call.store, id_out(next)).await,
        };
        call.end(plugin, answered)?.map_err(|error| CallError::Refused(error.into()))
    };
    measured(context, plugin, CallKind::Lifecycle, in_turn(&plugin.permits, budget, Duration::ZERO, work))
        .await
}

impl From<EventEntry> for event_types::Entry {
    fn from(entry: EventEntry) -> Self {
        Self {
            seq: id_out(entry.seq),
            kind: entry.kind,
            channel: entry.channel.map(|id| id_out(id.0)),
            actor: entry.actor.map(|id| id_out(id.0)),
            at: id_out(entry.at),
            depth: entry.depth,
            origin: entry.origin,
            history: entry.history,
            payload: entry.payload,
        }
    }
}

impl From<event_types::Outcome> for EventOutcome {
    fn from(outcome: event_types::Outcome) -> Self {
        match outcome {
            event_types::Outcome::Ok => Self::Ok,
            event_types::Outcome::Reject(reason) => Self::Reject(shortened(&reason)),
            event_types::Outcome::Retry(reason) | event_types::Outcome::Other(reason) => {
                Self::Retry(shortened(&reason))
            }
        }
    }
}

impl From<Draft> for hooks_export::Draft {
    fn from(draft: Draft) -> Self {
        Self {
            moment: match draft.moment {
                Moment::Create => hooks_export::Moment::Create,
                Moment::Edit => hooks_export::Moment::Edit,
            },
            message: draft.message.map(|id| id_out(id.0)),
            channel: id_out(draft.channel.0),
            author: id_out(draft.author.0),
            is_bot: draft.is_bot,
            parent: draft.parent.map(|id| id_out(id.0)),
            content: draft.content,
            files: u32::try_from(draft.files).unwrap_or(u32::MAX),
        }
    }
}

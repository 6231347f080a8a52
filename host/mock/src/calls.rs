//! Calling the plugin's exports the way the server does.
//!
//! Owns: which events and jobs are its turn, and what a request looks like. Must not: look at commands.

use std::collections::BTreeMap;

use bytes::Bytes;
use patchbay_core::{Actor, ChannelId, FileId, MessageId};
use patchbay_protocol::event_data;
use patchbay_runtime::{
    Auth, CallError, Draft, DueJob, EVENT_BATCH, EventEntry, EventOutcome, HttpRequest, Moment, PluginBody,
    Routed, Verdict,
};
use serde_json::{Value, json};

use crate::{Mock, MockError, Result};

/// Beyond the greatest depth nothing can be written.
const MAX_DEPTH: u8 = patchbay_core::MAX_DEPTH;

impl Mock {
    /// What the plugin's hook makes of a text.
    async fn hooked(&self, draft: Draft) -> Result<String> {
        if !self.plugin.manifest().hooks.contains(&draft.moment) {
            return Ok(draft.content);
        }
        let content = draft.content.clone();
        match self.runtime.before_message(&self.plugin, draft).await? {
            Verdict::Allow => Ok(content),
            Verdict::Replace(content) => Ok(content),
            Verdict::Refuse { code, detail } => Err(MockError::Refused { code, detail }),
        }
    }

    pub(crate) async fn post(
        &self,
        actor: &Actor,
        channel: ChannelId,
        content: String,
        (parent, files): (Option<MessageId>, Vec<FileId>),
    ) -> Result<patchbay_core::Message> {
        let author = crate::world::user_of(actor)?;
        self.world.state().enter(actor, channel, patchbay_core::permission::Action::Write)?;
        let draft = Draft {
            moment: Moment::Create,
            message: None,
            channel,
            author,
            is_bot: actor.is_bot(),
            parent,
            content,
            files: files.len(),
            depth: 0,
        };
        let content = self.hooked(draft).await?;
        Ok(self.world.state().post(actor, channel, &content, parent, &files)?)
    }

    pub(crate) async fn edit(
        &self,
        actor: &Actor,
        id: MessageId,
        content: String,
    ) -> Result<patchbay_core::Message> {
        let author = crate::world::user_of(actor)?;
        let draft = {
            let state = self.world.state();
            let message = state.may_edit(actor, id, &content)?;
            Draft {
                moment: Moment::Edit,
                message: Some(id),
                channel: message.channel_id,
                author,
                is_bot: actor.is_bot(),
                parent: message.parent_id,
                content,
                files: message.files.len(),
                depth: 0,
            }
        };
        let content = self.hooked(draft).await?;
        Ok(self.world.state().edit(actor, id, &content)?)
    }

    /// One request.
    pub(crate) async fn http(
        &self,
        caller: Option<Actor>,
        (method, target): (&str, &str),
        headers: BTreeMap<String, String>,
        body: Value,
    ) -> Result<Value> {
        let usage = |what: String| MockError::Usage(what);
        let method = http::Method::from_bytes(method.as_bytes())
            .map_err(|_| usage(format!("{method:?} is no method")))?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let call = match self.runtime.route(&method, path) {
            Routed::Call(call) => call,
            Routed::MethodNotAllowed(allowed) => {
                return Err(usage(format!("the manifest has {path}, but for {allowed:?}, not for {method}")));
            }
            Routed::NotFound => return Err(usage(format!("no route of the manifest is {path}"))),
        };
        let caller = match call.auth {
            Auth::None => None,
            Auth::Optional => caller,
            Auth::Required if caller.is_none() => {
                return Ok(problem(401, "unauthenticated", "a valid access token is needed"));
            }
            Auth::Required => caller,
        };
        let mut headers: Vec<_> =
            headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let is_typed = headers.iter().any(|(name, _)| name == "content-type");
        let body = match body {
            Value::Null => Bytes::new(),
            Value::String(text) => text.into(),
            json => {
                if !is_typed {
                    headers.push(("content-type".to_owned(), "application/json".to_owned()));
                }
                json.to_string().into()
            }
        };
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let request = HttpRequest { method, path: path.to_owned(), query, headers, body };
        match self.runtime.call_http(call, request, caller).await {
            Ok(answer) => answered(answer).await,
            Err(error) if error.is_failure() => Err(error.into()),
            Err(error) => Ok(problem(error.status().as_u16(), error.code(), error.public_detail())),
        }
    }

    /// Tells what is its turn, in batches of one depth, until nothing is left or an entry is to come again.
    pub(crate) async fn deliver(&self) -> Result<Value> {
        let mut told = Vec::new();
        loop {
            let entries = self.next_batch();
            if entries.is_empty() {
                return Ok(told.into());
            }
            let mut outcomes = self.runtime.tell(&self.plugin, entries.clone()).await?;
            if outcomes.is_empty() {
                outcomes.push(EventOutcome::Retry("it has no outcome".to_owned()));
            }
            let mut comes_again = false;
            for (entry, outcome) in entries.iter().zip(outcomes) {
                let (outcome, reason) = match outcome {
                    EventOutcome::Ok => ("ok", None),
                    EventOutcome::Reject(reason) => ("reject", Some(reason)),
                    EventOutcome::Retry(reason) => ("retry", Some(reason)),
                };
                told.push(
                    json!({ "seq": entry.seq, "kind": entry.kind, "outcome": outcome, "reason": reason }),
                );
                comes_again |= outcome == "retry";
                if outcome != "retry" {
                    let mut state = self.world.state();
                    let it = state.journal.iter_mut().find(|of_journal| of_journal.seq == entry.seq);
                    it.into_iter().for_each(|of_journal| of_journal.is_told = true);
                }
            }
            if comes_again {
                return Ok(told.into());
            }
        }
    }

    fn next_batch(&self) -> Vec<EventEntry> {
        let kinds = &self.plugin.manifest().events;
        let state = self.world.state();
        let concerns = |entry: &&crate::world::JournalEntry| {
            !entry.is_told
                && !entry.is_own
                && kinds.iter().any(|kinds| kinds.covers(entry.event.kind()))
                && state.hears(&entry.event)
        };
        let mut batch: Vec<EventEntry> = Vec::new();
        for entry in state.journal.iter().filter(concerns) {
            if batch.len() == EVENT_BATCH || batch.first().is_some_and(|first| first.depth != entry.depth) {
                break;
            }
            batch.push(EventEntry {
                seq: entry.seq,
                kind: entry.event.kind().to_owned(),
                channel: entry.event.channel_id(),
                actor: entry.actor,
                at: entry.at.0,
                depth: entry.depth,
                origin: None,
                history: false,
                payload: event_data(&entry.event),
            });
        }
        batch
    }

    /// Runs what is due now, in that order; what the jobs schedule meanwhile waits for the next time.
    pub(crate) async fn run_jobs(&self) -> Value {
        let mut due: Vec<_> = {
            let state = self.world.state();
            let now = state.now();
            let due = state.jobs.values().filter(|waiting| waiting.job.due <= now);
            due.map(|waiting| (waiting.job.clone(), waiting.failures)).collect()
        };
        due.sort_by_key(|(job, _)| job.due);
        let mut ran = Vec::new();
        for (job, failures) in due {
            let run = DueJob {
                id: job.id.clone(),
                payload: job.payload.clone(),
                due: job.due.0,
                attempt: failures + 1,
                depth: job.depth.min(MAX_DEPTH),
            };
            let result = self.runtime.run_job(&self.plugin, run).await;
            let mut state = self.world.state();
            let now = state.now().0;
            // The job may have been scheduled anew, or taken out, while it ran.
            let same = state.jobs.get(&job.id).is_some_and(|waiting| waiting.job == job);
            match (&result, same.then(|| state.jobs.get_mut(&job.id)).flatten()) {
                (_, None) => {}
                (Err(_), Some(waiting)) => waiting.failures += 1,
                (Ok(()), Some(waiting)) => match waiting.every {
                    Some(every) => {
                        let missed = (now - job.due.0).max(0) / every.max(1);
                        waiting.job.due.0 += every * (missed + 1);
                        waiting.failures = 0;
                    }
                    None => {
                        state.jobs.remove(&job.id);
                    }
                },
            }
            let error =
                result.err().map(|error| json!({ "code": error.code(), "detail": error.to_string() }));
            ran.push(json!({ "id": job.id, "ok": error.is_none(), "error": error }));
        }
        ran.into()
    }

    pub(crate) async fn decorate(&self, viewer: &Actor, messages: &[MessageId]) -> Result<Value> {
        let readable: Vec<_> = {
            let state = self.world.state();
            messages.iter().copied().filter(|id| state.message(viewer, *id).is_ok()).collect()
        };
        let added = self.runtime.decorate(viewer, &readable).await;
        if let Some((_, error)) = added.failures.into_iter().next() {
            return Err(error.into());
        }
        let mut by_message = serde_json::Map::new();
        for (message, added) in added.by_message {
            for (_, json) in added {
                let value = serde_json::from_str(&json).unwrap_or_default();
                by_message.insert(message.to_string(), value);
            }
        }
        Ok(by_message.into())
    }

    pub(crate) async fn command(&self, caller: Actor, channel: ChannelId, text: &str) -> Result<Value> {
        self.world.state().enter(&caller, channel, patchbay_core::permission::Action::Write)?;
        let typed = self.typed(text)?;
        let ran = self.runtime.run_command(&self.plugin, caller, typed, channel).await?;
        Ok(json!({ "text": ran }))
    }

    pub(crate) async fn more_commands(&self, caller: Actor, channel: ChannelId) -> Result<Value> {
        self.world.state().enter(&caller, channel, patchbay_core::permission::Action::Write)?;
        let more = self.runtime.more_commands(&self.plugin, caller, channel).await?;
        let shown = more.into_iter().map(
            |command| json!({ "name": command.name, "description": command.description, "usage": command.usage }),
        );
        Ok(shown.collect())
    }

    pub(crate) async fn complete(&self, caller: Actor, channel: ChannelId, text: &str) -> Result<Value> {
        self.world.state().enter(&caller, channel, patchbay_core::permission::Action::Write)?;
        let typed = self.typed(text)?;
        let found = self.runtime.complete_command(&self.plugin, caller, typed, channel).await?;
        let shown =
            found.into_iter().map(|found| json!({ "text": found.text, "description": found.description }));
        Ok(shown.collect())
    }

    /// The command's name and what comes after it.
    fn typed<'a>(&self, text: &'a str) -> Result<(&'a str, &'a str)> {
        let usage = || MockError::Usage(format!("{text:?}: a command is /NAME and what it needs"));
        let rest = text.trim().strip_prefix('/').ok_or_else(usage)?;
        let (name, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if self.runtime.command(name).is_none() && !self.plugin.helps_with_commands() {
            return Err(MockError::Usage(format!("the manifest has no command {name:?}")));
        }
        Ok((name, text.trim()))
    }
}

/// The shape of all problems of the API.
fn problem(status: u16, code: &str, detail: &str) -> Value {
    json!({
        "status": status,
        "headers": { "content-type": "application/problem+json" },
        "body": { "type": "about:blank", "status": status, "code": code, "detail": detail },
    })
}

/// An answer as a test sees it; a stream to its end.
async fn answered(answer: http::Response<PluginBody>) -> Result<Value> {
    let (head, body) = answer.into_parts();
    let body = match body {
        PluginBody::Whole(bytes) => bytes.to_vec(),
        PluginBody::Stream(mut chunks) => {
            let mut all = Vec::new();
            while let Some(chunk) = chunks.recv().await {
                all.extend_from_slice(&chunk?);
            }
            all
        }
    };
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), json!(String::from_utf8_lossy(value.as_bytes())))
    };
    let headers: serde_json::Map<_, _> = head.headers.iter().map(header).collect();
    let is_json = head.headers.get(http::header::CONTENT_TYPE).is_some_and(|value| {
        let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        essence == "application/json" || essence.ends_with("+json")
    });
    let body = if is_json {
        let why = |error| CallError::InvalidResponse(format!("it says that it is JSON: {error}"));
        serde_json::from_slice(&body).map_err(why)?
    } else if body.is_empty() {
        Value::Null
    } else {
        json!(String::from_utf8_lossy(&body))
    };
    Ok(json!({ "status": head.status.as_u16(), "headers": headers, "body": body }))
}

//! Carrying commands out.
//!
//! Owns: what each command does and answers. Must not: parse lines or print.

use patchbay_core::{Actor, ChannelId, Event, FileId, MessageId, User, UserId};
use patchbay_runtime::capabilities::{http_client::IncomingAnswer, log::LogLevel};
use serde_json::{Map, Value, json};

use crate::{
    Command, Mock, MockError, Name, Result,
    capabilities::{metadata_shown, shown},
    world::{Canned, Kept, Scripted, State},
};

fn find_user<'a>(state: &'a State, name: &Name) -> Result<&'a User> {
    let found = match name {
        Name::Id(id) => state.users.get(&UserId(*id)),
        Name::Name(name) => state.user_named(name),
    };
    found.ok_or_else(|| MockError::Usage(format!("there is no user {name:?}; make one with `user`")))
}

fn find_channel(state: &State, name: &Name) -> Result<ChannelId> {
    let found = match name {
        Name::Id(id) => state.rooms.get(&ChannelId(*id)),
        Name::Name(name) => state.room_named(name),
    };
    let missing = || MockError::Usage(format!("there is no channel {name:?}; make one with `channel`"));
    Ok(found.ok_or_else(missing)?.channel.id)
}

fn message(message: &patchbay_core::Message) -> Value {
    let event = Event::MessageCreated(message.clone());
    serde_json::from_str(&patchbay_protocol::event_data(&event)).unwrap_or_default()
}

impl Mock {
    /// Reads a command and carries it out; the answer is a JSON object with `ok` or `error`.
    pub async fn answer(&self, line: &str) -> Value {
        let done = match serde_json::from_str(line) {
            Ok(command) => self.run(command).await,
            Err(error) => Err(MockError::Usage(format!("no command: {error}"))),
        };
        match done {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": { "code": error.code(), "detail": error.to_string() } }),
        }
    }

    /// Carries a command out.
    ///
    /// # Errors
    /// What the plugin or the world's rules say; or the command names what is not there.
    pub async fn run(&self, command: Command) -> Result<Value> {
        match command {
            Command::User { .. }
            | Command::Channel { .. }
            | Command::Config { .. }
            | Command::Secret { .. }
            | Command::Put { .. }
            | Command::File { .. }
            | Command::Answer { .. }
            | Command::Model { .. }
            | Command::Advance { .. } => self.arrange(command),
            Command::Messages { .. }
            | Command::Reactions { .. }
            | Command::State { .. }
            | Command::Jobs {}
            | Command::Events {}
            | Command::Signals {}
            | Command::Requests {}
            | Command::Prompts {}
            | Command::Vectors { .. }
            | Command::Log {}
            | Command::Calls {} => self.look(command),
            command => self.act(command).await,
        }
    }

    fn actor(&self, name: &Name) -> Result<Actor> {
        let state = self.world.state();
        Ok(state.actor(find_user(&state, name)?))
    }

    /// Commands that make the world.
    fn arrange(&self, command: Command) -> Result<Value> {
        let mut state = self.world.state();
        match command {
            Command::User { name, superuser } => {
                patchbay_core::text::check_username(&name)
                    .map_err(|fault| MockError::Usage(format!("name {}", fault.message)))?;
                if state.user_named(&name).is_some() {
                    return Err(MockError::Usage(format!("there is a user {name:?} already")));
                }
                Ok(json!(state.add_user(&name, superuser, false).0))
            }
            Command::Channel { name, members, public } => {
                if state.room_named(&name).is_some() {
                    return Err(MockError::Usage(format!("there is a channel {name:?} already")));
                }
                let members: Result<Vec<_>> =
                    members.iter().map(|member| Ok(find_user(&state, member)?.id)).collect();
                Ok(json!(state.add_channel(&name, &members?, public).0))
            }
            Command::Config { key, value } => {
                let keys = &self.plugin.manifest().config;
                if !keys.iter().any(|known| known.key == key && known.kind.accepts(&value)) {
                    let what = format!("the manifest has no config key {key:?} of this type");
                    return Err(MockError::Usage(what));
                }
                state.config.insert(key, value);
                Ok(Value::Null)
            }
            Command::Secret { key, value } => {
                state.secrets.insert(key, value);
                Ok(Value::Null)
            }
            Command::Put { key, value } => {
                state.kv.insert(key, Kept { value: value.into_bytes(), message: None });
                Ok(Value::Null)
            }
            Command::File { r#as, name, file_type, content } => {
                let actor = state.actor(find_user(&state, &r#as)?);
                Ok(json!(state.upload(&actor, &name, &file_type, content.as_bytes())?.id.0))
            }
            Command::Answer { url, method, status, headers, body } => {
                let body = match body {
                    Value::Null => Vec::new(),
                    Value::String(text) => text.into_bytes(),
                    json => json.to_string().into_bytes(),
                };
                let headers =
                    headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
                let answer = IncomingAnswer { status, headers, body };
                state.canned.push(Canned { method, url, answer });
                Ok(Value::Null)
            }
            Command::Model { contains, pieces, error } => {
                state.scripted.push(Scripted { contains, pieces, error });
                Ok(Value::Null)
            }
            Command::Advance { ms } => {
                state.advance(i64::from(ms));
                Ok(json!(state.now().0))
            }
            other => Err(MockError::Usage(format!("{other:?} arranges nothing"))),
        }
    }

    /// Commands that look at what there is.
    fn look(&self, command: Command) -> Result<Value> {
        let state = self.world.state();
        let list = match command {
            Command::Messages { channel } => {
                let channel = find_channel(&state, &channel)?;
                let of_it = state.messages.values().filter(|message| message.channel_id == channel);
                of_it.map(message).collect()
            }
            Command::Reactions { message } => {
                let of_it = state.reactions.iter().filter(|r| r.message_id.0 == message);
                of_it.map(|r| json!({ "emoji": r.emoji, "user": name_of(&state, r.user_id) })).collect()
            }
            Command::State { prefix } => {
                let of_it = state.kv.iter().filter(|(key, _)| key.starts_with(&prefix));
                let values: Map<_, _> = of_it.map(|(key, kept)| (key.clone(), shown(&kept.value))).collect();
                return Ok(values.into());
            }
            Command::Jobs {} => {
                let jobs = state.jobs.values().map(|waiting| &waiting.job);
                jobs.map(|job| json!({ "id": job.id, "payload": job.payload, "due": job.due.0 })).collect()
            }
            Command::Events {} => state.journal.iter().map(|entry| event(&state, entry)).collect(),
            Command::Signals {} => {
                let of_it = state.signals.iter();
                of_it
                    .map(|(channel, kind, data)| json!({ "channel": channel.0, "kind": kind, "data": data }))
                    .collect()
            }
            Command::Requests {} => state.requests.clone(),
            Command::Prompts {} => state.prompts.clone(),
            Command::Vectors { collection } => {
                let kept = state.vectors.get(&collection).into_iter().flatten();
                let of_it: Map<_, _> =
                    kept.map(|(id, item)| (id.clone(), metadata_shown(&item.metadata))).collect();
                return Ok(of_it.into());
            }
            Command::Log {} => {
                let lines = state.log.iter();
                lines.map(|(level, line)| json!({ "level": level_name(*level), "message": line })).collect()
            }
            Command::Calls {} => {
                let calls = state.calls.iter();
                calls
                    .map(|call| {
                        json!({
                            "interface": call.interface, "function": call.function,
                            "arguments": call.arguments, "error": call.error,
                        })
                    })
                    .collect::<Vec<_>>()
            }
            other => return Err(MockError::Usage(format!("{other:?} looks at nothing"))),
        };
        Ok(list.into())
    }

    /// Commands in which people act and the plugin is called.
    async fn act(&self, command: Command) -> Result<Value> {
        match command {
            Command::Post { r#as, channel, content, parent, files } => {
                let actor = self.actor(&r#as)?;
                let channel = find_channel(&self.world.state(), &channel)?;
                let with = (parent.map(MessageId), files.into_iter().map(FileId).collect());
                Ok(message(&self.post(&actor, channel, content, with).await?))
            }
            Command::Edit { r#as, message: id, content } => {
                let actor = self.actor(&r#as)?;
                Ok(message(&self.edit(&actor, MessageId(id), content).await?))
            }
            Command::Delete { r#as, message } => {
                let actor = self.actor(&r#as)?;
                self.world.state().delete(&actor, MessageId(message))?;
                Ok(Value::Null)
            }
            Command::React { r#as, message, emoji } => {
                let actor = self.actor(&r#as)?;
                let (_, created) = self.world.state().react(&actor, MessageId(message), &emoji)?;
                Ok(json!({ "created": created }))
            }
            Command::Http { r#as, method, path, headers, body } => {
                let caller = r#as.map(|name| self.actor(&name)).transpose()?;
                self.http(caller, (&method, &path), headers, body).await
            }
            Command::Command { r#as, channel, text } => {
                let caller = self.actor(&r#as)?;
                let channel = find_channel(&self.world.state(), &channel)?;
                self.command(caller, channel, &text).await
            }
            Command::Decorate { r#as, messages } => {
                let viewer = self.actor(&r#as)?;
                let messages: Vec<_> = messages.into_iter().map(MessageId).collect();
                self.decorate(&viewer, &messages).await
            }
            Command::Deliver {} => self.deliver().await,
            Command::RunJobs {} => Ok(self.run_jobs().await),
            Command::Activate { previous } => {
                self.runtime.announce(&self.plugin, previous).await?;
                Ok(Value::Null)
            }
            Command::Resync { next } => {
                self.runtime.resync(&self.plugin, next).await?;
                Ok(Value::Null)
            }
            Command::Forget {} => {
                let mut state = self.world.state();
                state.log.clear();
                state.calls.clear();
                state.signals.clear();
                state.requests.clear();
                state.prompts.clear();
                Ok(Value::Null)
            }
            Command::TryAll {} => Ok(Box::pin(self.try_all()).await),
            other => Err(MockError::Usage(format!("{other:?} does nothing"))),
        }
    }
}

fn name_of(state: &State, user: UserId) -> Option<&str> {
    state.users.get(&user).map(|user| user.username.as_str())
}

fn event(state: &State, entry: &crate::world::JournalEntry) -> Value {
    let data: Value = serde_json::from_str(&patchbay_protocol::event_data(&entry.event)).unwrap_or_default();
    json!({
        "seq": entry.seq,
        "kind": entry.event.kind(),
        "actor": entry.actor.and_then(|id| name_of(state, id)),
        "channel": entry.event.channel_id().map(|id| id.0),
        "own": entry.is_own,
        "data": data,
    })
}

fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

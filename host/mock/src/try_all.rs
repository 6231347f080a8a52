//! One call of everything that a component exports, for an author who wants to know whether it runs at all.
//!
//! Owns: what is made up for that. Must not: judge; a plugin may well answer made-up input with an error.

use patchbay_runtime::Route;
use serde_json::{Value, json};

use crate::{Command, Mock, Name, Result};

impl Mock {
    /// Calls each export, `activate` first, in a world with two people, a channel that the bot is in, and a message.
    pub(crate) async fn try_all(&self) -> Value {
        let mut tried = Vec::new();
        let made = self.made_up().await;
        let message = match made {
            Ok(message) => message,
            Err(error) => return json!([tried_one("world", "made up", Err(error))]),
        };
        let named = |name: &str| Name::Name(name.to_owned());
        let activated = self.run(Command::Activate { previous: None }).await;
        if self.plugin.has_lifecycle() {
            tried.push(tried_one("lifecycle", "activate", activated));
        }
        let manifest = self.plugin.manifest().clone();
        for route in &manifest.routes {
            for method in &route.methods {
                let path = filled_in(route, message);
                let has_body = !matches!(*method, http::Method::GET | http::Method::DELETE);
                let command = Command::Http {
                    r#as: Some(named("ann")),
                    method: method.to_string(),
                    path: path.clone(),
                    headers: [].into(),
                    body: if has_body { json!({}) } else { Value::Null },
                };
                let answer = self
                    .run(command)
                    .await
                    .map(|answer| json!(format!("status {}", field(&answer, "status"))));
                tried.push(tried_one("http", &format!("{method} {path}"), answer));
            }
        }
        if self.plugin.decorates() {
            let command = Command::Decorate { r#as: named("ben"), messages: vec![message] };
            tried.push(tried_one("decorator", "a message", self.run(command).await));
        }
        if !manifest.hooks.is_empty() {
            let content = "a second message".to_owned();
            let post = Command::Post {
                r#as: named("ben"),
                channel: named("general"),
                content,
                parent: None,
                files: Vec::new(),
            };
            let posted = self.run(post).await.map(|message| field(&message, "content"));
            tried.push(tried_one("hooks", "before a message", posted));
        }
        for command in &manifest.commands {
            let text = format!("/{} {}", command.name, command.usage);
            let typed =
                Command::Command { r#as: named("ann"), channel: named("general"), text: text.clone() };
            tried.push(tried_one("commands", text.trim(), self.run(typed).await));
        }
        if self.plugin.follows_events() {
            tried.push(tried_one("events", "what happened so far", self.run(Command::Deliver {}).await));
        }
        if self.plugin.works() {
            let longest = manifest.jobs.iter().map(|job| job.every.as_millis()).max().unwrap_or(0);
            let ms = u32::try_from(longest).unwrap_or(u32::MAX);
            let ran = match self.run(Command::Advance { ms }).await {
                Ok(_) => self.run(Command::RunJobs {}).await,
                failed => failed,
            };
            tried.push(tried_one("jobs", "what is due", ran));
        }
        tried.into()
    }

    /// The id of a message.
    async fn made_up(&self) -> Result<i64> {
        let bot = Name::Name(self.plugin.name().to_owned());
        for name in ["ann", "ben"] {
            self.run(Command::User { name: name.to_owned(), superuser: name == "ann" }).await?;
        }
        let members = vec![Name::Name("ann".to_owned()), Name::Name("ben".to_owned()), bot];
        self.run(Command::Channel { name: "general".to_owned(), members, public: false }).await?;
        // Past the hook, which gets its turn later.
        let mut state = self.world.state();
        let ann = state.user_named("ann").map(|user| state.actor(user));
        let channel = state.room_named("general").map(|room| room.channel.id);
        let (Some(ann), Some(channel)) = (ann, channel) else { return Ok(0) };
        Ok(state.post(&ann, channel, "a message, see https://example.org/", None, &[])?.id.0)
    }
}

fn field(value: &Value, name: &str) -> Value {
    value.get(name).cloned().unwrap_or_default()
}

fn filled_in(route: &Route, id: i64) -> String {
    let segments = route.path.split('/');
    let segments =
        segments.map(|segment| if segment.starts_with('{') { id.to_string() } else { segment.to_owned() });
    segments.collect::<Vec<_>>().join("/")
}

fn tried_one(export: &str, call: &str, done: Result<Value>) -> Value {
    match done {
        Ok(value) => {
            let said = match value {
                Value::Null => String::new(),
                Value::String(text) => text,
                json => json.to_string(),
            };
            json!({ "export": export, "call": call, "ok": true, "detail": said })
        }
        Err(error) => {
            let detail = format!("{}: {error}", error.code());
            json!({ "export": export, "call": call, "ok": false, "detail": detail })
        }
    }
}

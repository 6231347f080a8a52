//! What a test can ask for, as JSON: `{"do": "post", "as": "ann", "channel": "general", "content": "hello"}`.
//!
//! Owns: the form of commands. Must not: do anything.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A user or a channel, by name or by id. The plugin's bot has the plugin's name.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Name {
    /// Its id.
    Id(i64),
    /// Its name.
    Name(String),
}

/// A command. The answer is `{"ok": VALUE}` or `{"error": {"code", "detail"}}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Adds a person; its id.
    User {
        /// Its name.
        name: String,
        /// Whether it administers the deployment.
        #[serde(default)]
        superuser: bool,
    },
    /// Adds a channel; its id. The first member owns it.
    Channel {
        /// Its name.
        name: String,
        /// Who is in it.
        #[serde(default)]
        members: Vec<Name>,
        /// Whether everybody may read it.
        #[serde(default)]
        public: bool,
    },
    /// Sets a config key; its value is checked against the manifest when the plugin reads it.
    Config {
        /// The key.
        key: String,
        /// The value.
        value: Value,
    },
    /// Sets a secret.
    Secret {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Puts a value into the plugin's own state.
    Put {
        /// The key.
        key: String,
        /// The value, a text.
        value: String,
    },
    /// Uploads a file; its id.
    File {
        /// Who.
        r#as: Name,
        /// Its name.
        name: String,
        /// Its media type.
        #[serde(default = "text_plain")]
        file_type: String,
        /// Its content, a text.
        content: String,
    },
    /// Prepares what another server answers. Without one that fits, a request is `unavailable`.
    Answer {
        /// The URL, or the beginning of some, with `*` at the end.
        url: String,
        /// The method; any, if there is none.
        method: Option<String>,
        /// The status.
        #[serde(default = "ok_status")]
        status: u16,
        /// Headers.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body: a text is sent as it is, anything else as JSON.
        #[serde(default)]
        body: Value,
    },
    /// Prepares what a model answers. Without one that fits, `llm` is `llm_not_configured`; texts are embedded by their words.
    Model {
        /// It answers prompts that have this in one of their turns; all, if there is none.
        contains: Option<String>,
        /// The answer, in the pieces in which it comes.
        #[serde(default)]
        pieces: Vec<String>,
        /// The code of the error that comes after the pieces, or at once if there are none, e.g. `llm_failed`.
        error: Option<String>,
    },
    /// Lets time pass; what time it is then, in milliseconds since 1970.
    Advance {
        /// Milliseconds.
        ms: u32,
    },
    /// Posts a message, after the plugin's hook has looked at it; the message.
    Post {
        /// Who.
        r#as: Name,
        /// Where.
        channel: Name,
        /// What.
        content: String,
        /// The message to reply to.
        parent: Option<i64>,
        /// Files of this user.
        #[serde(default)]
        files: Vec<i64>,
    },
    /// Edits a message, after the plugin's hook has looked at it; the message.
    Edit {
        /// Who.
        r#as: Name,
        /// Which.
        message: i64,
        /// What it is to say.
        content: String,
    },
    /// Deletes a message.
    Delete {
        /// Who.
        r#as: Name,
        /// Which.
        message: i64,
    },
    /// Reacts to a message.
    React {
        /// Who.
        r#as: Name,
        /// To what.
        message: i64,
        /// How.
        emoji: String,
    },
    /// Sends a request to the plugin: `{status, headers, body}`, the body as JSON if it is some. An error that the plugin
    /// returns becomes a problem document, as in a server; a failure (a trap, a limit) is an error.
    Http {
        /// Who; nobody, if there is none.
        r#as: Option<Name>,
        /// The method.
        method: String,
        /// The path, with its query.
        path: String,
        /// Headers. `content-type` is `application/json` if there is a body and it isn't set.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body: a text is sent as it is, anything else as JSON.
        #[serde(default)]
        body: Value,
    },
    /// Types a slash command; `{text}`, what the plugin answers to the caller alone.
    Command {
        /// Who.
        r#as: Name,
        /// Where.
        channel: Name,
        /// The command with its slash.
        text: String,
    },
    /// Asks the decorator; an object of what it adds, by message id.
    Decorate {
        /// Who reads.
        r#as: Name,
        /// What; those that the reader can't read are left out.
        messages: Vec<i64>,
    },
    /// Tells the plugin what happened since: `[{seq, kind, outcome, reason?}]`, outcomes being `ok`, `retry`, `reject`.
    Deliver {},
    /// Runs the jobs that are due: `[{id, ok, error?}]`. One that failed stays due.
    RunJobs {},
    /// Calls `lifecycle.activate`.
    Activate {
        /// The version that served before.
        previous: Option<String>,
    },
    /// Calls `lifecycle.resync`.
    Resync {
        /// The first event that is still there.
        next: i64,
    },
    /// The messages of a channel, oldest first.
    Messages {
        /// Where.
        channel: Name,
    },
    /// The reactions to a message, `[{emoji, user}]`.
    Reactions {
        /// Which.
        message: i64,
    },
    /// The plugin's state: values by key.
    State {
        /// Keys that begin with this.
        #[serde(default)]
        prefix: String,
    },
    /// The jobs that wait: `[{id, payload, due}]`, those of the manifest among them.
    Jobs {},
    /// Everything that happened: `[{seq, kind, actor, channel, own, data}]`; `own` is what the plugin did.
    Events {},
    /// The signals that the plugin sent: `[{channel, kind, data}]`.
    Signals {},
    /// The requests that it sent to other servers: `[{method, url, headers, body}]`.
    Requests {},
    /// The prompts that models answered: `[{provider, model, turns: [{role, content}], max_tokens, temperature}]`.
    Prompts {},
    /// What is in a collection of vectors: metadata by id.
    Vectors {
        /// Which.
        collection: String,
    },
    /// What it logged, and how calls of it failed: `[{level, message}]`.
    Log {},
    /// The host functions that it called: `[{interface, function, arguments, error}]`.
    Calls {},
    /// Forgets what was logged, called, signalled, sent and asked of models.
    Forget {},
    /// Calls each of its exports once in a made-up world; what became of it: `[{export, call, ok, detail}]`.
    TryAll {},
}

fn text_plain() -> String {
    "text/plain".to_owned()
}

fn ok_status() -> u16 {
    200
}

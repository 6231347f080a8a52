//! Testing a plugin: the component as it is shipped, run under its real limits against a world in memory, without a
//! server. The mock host is part of the `patchbay` program (`patchbay plugin mock`); this is its client. It is found by
//! the variable `PATCHBAY`, beside the test's own program, or on the path.
//!
//! ```no_run
//! use patchbay_sdk::{json, mock::Mock};
//!
//! let mock = Mock::project();
//! mock.user("ann");
//! // The plugin's bot has the plugin's name.
//! let general = mock.channel("general", &["ann", "greeter"]);
//! mock.post("ann", "general", "hello").unwrap();
//! assert_eq!(mock.deliver().unwrap()[0]["outcome"], "ok");
//! assert_eq!(mock.messages("general")[1]["content"], "hello, ann!");
//! let calls = mock.called("messages", "post");
//! assert_eq!(calls, [json!({ "actor": "greeter", "channel": general, "content": "hello, ann!", "parent": null, "files": [] })]);
//! ```
//!
//! Functions that make the world or look at it fail the test if that can't be done; those in which the plugin is called
//! return what it says.
//!
//! Owns: the conversation with the mock host. Must not: be part of a component.
#![allow(clippy::panic, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::{
    cell::RefCell,
    ffi::OsString,
    fmt,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use serde_json::{Map, Value, json};

/// Why something did not work: the plugin's error, a trap, a limit, a rule of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Stable snake_case, as a client of the server would get it: `plugin_trapped`, `channel_not_found`, …
    pub code: String,
    /// A sentence; for a trap with the innermost functions.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Failure {}

/// What the plugin answered to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers, with lower-case names.
    pub headers: Map<String, Value>,
    /// The body: JSON if it is declared as some, a text otherwise, null if there is none.
    pub body: Value,
}

struct Pipes {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// A plugin and a world for it. Each is its own: tests don't see each other.
pub struct Mock {
    child: Child,
    pipes: RefCell<Pipes>,
}

impl Drop for Mock {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `patchbay` program.
fn program() -> OsString {
    if let Some(program) = std::env::var_os("PATCHBAY") {
        return program;
    }
    // A test lies in target/PROFILE/deps.
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.ancestors().nth(2)?.join("patchbay")));
    match beside.filter(|program| program.is_file()) {
        Some(program) => program.into(),
        None => "patchbay".into(),
    }
}

fn not_started(error: &std::io::Error) -> ! {
    let program = program();
    panic!("{}: {error}; install patchbay, or set PATCHBAY to where it is", program.display())
}

impl Mock {
    /// The plugin of this project, the package that is tested: built by `patchbay plugin build`, once for all tests of
    /// this program.
    pub fn project() -> Self {
        static BUILT: OnceLock<PathBuf> = OnceLock::new();
        let component = BUILT.get_or_init(|| {
            // Cargo sets it for the tests that it runs.
            let directory = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| ".".into());
            let mut build = Command::new(program());
            build.args(["plugin", "build"]).arg(&directory).stderr(Stdio::inherit());
            let built = build.output().unwrap_or_else(|error| not_started(&error));
            assert!(built.status.success(), "the plugin was not built, see above");
            let printed = String::from_utf8_lossy(&built.stdout).into_owned();
            PathBuf::from(printed.lines().last().unwrap_or_default())
        });
        Self::load(component)
    }

    /// A packed component in a file.
    pub fn load(component: impl AsRef<Path>) -> Self {
        Self::load_with(component, &[])
    }

    /// The same with options of `patchbay plugin mock`, e.g. `["--limit", "http_cpu_ms=50"]` or
    /// `["--withhold", "kv"]`.
    pub fn load_with(component: impl AsRef<Path>, options: &[&str]) -> Self {
        let component = component.as_ref();
        assert!(component.is_file(), "there is no {}; build it first", component.display());
        let mut command = Command::new(program());
        command.args(["plugin", "mock"]).arg(component).args(options);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| not_started(&error));
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            panic!("the mock host has no pipes")
        };
        let mock = Self { child, pipes: RefCell::new(Pipes { input, output: BufReader::new(output) }) };
        mock.next_answer().unwrap_or_else(|failure| panic!("{}: {failure}", component.display()));
        mock
    }

    fn next_answer(&self) -> Result<Value, Failure> {
        let mut line = String::new();
        let read = self.pipes.borrow_mut().output.read_line(&mut line);
        assert!(read.is_ok_and(|bytes| bytes > 0), "the mock host has ended; what it said stands above");
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(value) = answer.get_mut("ok") {
            return Ok(value.take());
        }
        let text = |field: &str| answer.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        Err(Failure { code: text("/error/code"), detail: text("/error/detail") })
    }

    /// Any command of `patchbay plugin mock`: its name and its fields.
    ///
    /// # Errors
    /// What the mock host says.
    pub fn ask(&self, command: &str, mut fields: Value) -> Result<Value, Failure> {
        fields["do"] = command.into();
        let sent = writeln!(self.pipes.borrow_mut().input, "{fields}");
        sent.unwrap_or_else(|error| panic!("the mock host has ended: {error}"));
        self.next_answer()
    }

    /// The same for what must work.
    fn demand(&self, command: &str, fields: Value) -> Value {
        self.ask(command, fields).unwrap_or_else(|failure| panic!("{command}: {failure}"))
    }

    fn list(&self, command: &str, fields: Value) -> Vec<Value> {
        match self.demand(command, fields) {
            Value::Array(list) => list,
            other => vec![other],
        }
    }

    /// Adds a person; its id.
    pub fn user(&self, name: &str) -> i64 {
        self.demand("user", json!({ "name": name })).as_i64().unwrap_or_default()
    }

    /// Adds a channel; its id. The first member owns it. The plugin's bot has the plugin's name.
    pub fn channel(&self, name: &str, members: &[&str]) -> i64 {
        self.demand("channel", json!({ "name": name, "members": members })).as_i64().unwrap_or_default()
    }

    /// Sets a config key of the manifest.
    pub fn config(&self, key: &str, value: impl Into<Value>) {
        self.demand("config", json!({ "key": key, "value": value.into() }));
    }

    /// Sets a secret.
    pub fn secret(&self, key: &str, value: &str) {
        self.demand("secret", json!({ "key": key, "value": value }));
    }

    /// Puts a value into the plugin's state.
    pub fn put(&self, key: &str, value: &str) {
        self.demand("put", json!({ "key": key, "value": value }));
    }

    /// Prepares what another server answers to requests for `url`; with `*` at its end, to all that begin like this. A
    /// text is sent as it is, any other body as JSON.
    pub fn answer(&self, url: &str, status: u16, body: impl Into<Value>) {
        self.demand("answer", json!({ "url": url, "status": status, "body": body.into() }));
    }

    /// Prepares what a model answers to prompts that have `contains` in one of their turns (all, if it is empty), in the pieces
    /// in which it comes.
    pub fn model(&self, contains: &str, pieces: &[&str]) {
        let contains = (!contains.is_empty()).then_some(contains);
        self.demand("model", json!({ "contains": contains, "pieces": pieces }));
    }

    /// As [`Mock::model`], with an error after the pieces: the answer breaks off, or never begins if there are none.
    pub fn model_fails(&self, contains: &str, pieces: &[&str], code: &str) {
        let contains = (!contains.is_empty()).then_some(contains);
        self.demand("model", json!({ "contains": contains, "pieces": pieces, "error": code }));
    }

    /// Lets time pass; what time it is then, in milliseconds since 1970.
    pub fn advance(&self, time: Duration) -> u64 {
        let ms = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        self.demand("advance", json!({ "ms": ms })).as_u64().unwrap_or_default()
    }

    /// Somebody posts; the message as stored. The plugin's hook has its say, its events wait for [`Mock::deliver`].
    ///
    /// # Errors
    /// If the hook refused it, with its code, or failed; or who posts may not.
    pub fn post(&self, who: &str, channel: &str, content: &str) -> Result<Value, Failure> {
        self.ask("post", json!({ "as": who, "channel": channel, "content": content }))
    }

    /// Somebody edits a message.
    ///
    /// # Errors
    /// As [`Mock::post`].
    pub fn edit(&self, who: &str, message: i64, content: &str) -> Result<Value, Failure> {
        self.ask("edit", json!({ "as": who, "message": message, "content": content }))
    }

    /// Somebody deletes a message.
    pub fn delete(&self, who: &str, message: i64) {
        self.demand("delete", json!({ "as": who, "message": message }));
    }

    /// Somebody reacts to a message.
    pub fn react(&self, who: &str, message: i64, emoji: &str) {
        self.demand("react", json!({ "as": who, "message": message, "emoji": emoji }));
    }

    /// A request to one of the plugin's routes, with its query. `who` is the caller; none for a stranger. A text is sent as
    /// it is, null not at all, any other body as JSON.
    ///
    /// # Errors
    /// If the call failed: a trap, a limit, an answer that is none. What the plugin refuses is an [`Answer`].
    pub fn request<'a>(
        &self,
        who: impl Into<Option<&'a str>>,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<Answer, Failure> {
        let fields = json!({ "as": who.into(), "method": method, "path": path, "body": body });
        let mut answer = self.ask("http", fields)?;
        let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        let headers = match answer["headers"].take() {
            Value::Object(headers) => headers,
            _ => Map::new(),
        };
        Ok(Answer { status: status.unwrap_or_default(), headers, body: answer["body"].take() })
    }

    /// Somebody types a slash command; what the plugin answers to them alone.
    ///
    /// # Errors
    /// What the plugin says; or the call failed.
    pub fn command(&self, who: &str, channel: &str, text: &str) -> Result<Option<String>, Failure> {
        let answer = self.ask("command", json!({ "as": who, "channel": channel, "text": text }))?;
        Ok(answer["text"].as_str().map(str::to_owned))
    }

    /// What the decorator adds for this reader: an object of values by message id, which is a text there.
    ///
    /// # Errors
    /// If the call failed.
    pub fn decorate(&self, who: &str, messages: &[i64]) -> Result<Value, Failure> {
        self.ask("decorate", json!({ "as": who, "messages": messages }))
    }

    /// Tells the plugin what has happened since: `{seq, kind, outcome, reason}` of each entry that it was told of.
    ///
    /// # Errors
    /// If the call failed; then the entries come again.
    pub fn deliver(&self) -> Result<Vec<Value>, Failure> {
        match self.ask("deliver", json!({}))? {
            Value::Array(list) => Ok(list),
            other => Ok(vec![other]),
        }
    }

    /// Runs the jobs that are due: `{id, ok, error}` of each. One that failed stays due.
    pub fn run_jobs(&self) -> Vec<Value> {
        self.list("run_jobs", json!({}))
    }

    /// Tells the plugin that it is about to serve in place of another version, or for the first time.
    ///
    /// # Errors
    /// If it declines.
    pub fn activate(&self, previous: Option<&str>) -> Result<(), Failure> {
        self.ask("activate", json!({ "previous": previous })).map(drop)
    }

    /// The messages of a channel, oldest first, as the API shows them.
    pub fn messages(&self, channel: &str) -> Vec<Value> {
        self.list("messages", json!({ "channel": channel }))
    }

    /// The plugin's state: values by key, those whose keys begin with `prefix`.
    pub fn state(&self, prefix: &str) -> Value {
        self.demand("state", json!({ "prefix": prefix }))
    }

    /// The jobs that wait: `{id, payload, due}`.
    pub fn jobs(&self) -> Vec<Value> {
        self.list("jobs", json!({}))
    }

    /// What the plugin did and others hear of: `{seq, kind, actor, channel, own, data}`.
    pub fn emitted(&self) -> Vec<Value> {
        let mut events = self.list("events", json!({}));
        events.retain(|event| event["own"] == true);
        events
    }

    /// The signals that it sent: `{channel, kind, data}`.
    pub fn signals(&self) -> Vec<Value> {
        self.list("signals", json!({}))
    }

    /// The requests that it sent to other servers: `{method, url, headers, body}`.
    pub fn requests(&self) -> Vec<Value> {
        self.list("requests", json!({}))
    }

    /// The prompts that models answered: `{provider, model, turns: [{role, content}], max_tokens, temperature}`.
    pub fn prompts(&self) -> Vec<Value> {
        self.list("prompts", json!({}))
    }

    /// What is in a collection of vectors: metadata by id.
    pub fn vectors(&self, collection: &str) -> Value {
        self.demand("vectors", json!({ "collection": collection }))
    }

    /// What it logged: `{level, message}`.
    pub fn log(&self) -> Vec<Value> {
        self.list("log", json!({}))
    }

    /// The calls of host functions, in order: `{interface, function, arguments, error}`.
    pub fn calls(&self) -> Vec<Value> {
        self.list("calls", json!({}))
    }

    /// The arguments of the calls of one host function.
    pub fn called(&self, interface: &str, function: &str) -> Vec<Value> {
        let mut calls = self.calls();
        calls.retain(|call| call["interface"] == interface && call["function"] == function);
        calls.into_iter().map(|mut call| call["arguments"].take()).collect()
    }

    /// Forgets what was logged, called, signalled and sent.
    pub fn forget(&self) {
        self.demand("forget", json!({}));
    }
}

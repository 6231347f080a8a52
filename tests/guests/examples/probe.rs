//! Calls one host function per request, as the body says, and answers with what came of it: 200 and the value, or the
//! contract's error. It does so as the caller, unless the body says `"as": "bot"` or `"as": "system"`.
//!
//! `POST /api/plugins/probe/{interface}/{function}`, the function's name with underscores, its parameters (but the
//! actor) as members of the body.

use patchbay_sdk::{
    Actor, Error, Http, Request, Response, Value, answer::Answer, config, files, http_client, identity,
    input, json, kv, messages, presence, realtime, scheduler, system,
};

struct Guest;

impl Http for Guest {
    fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
        let caller = caller.ok_or_else(|| Error::forbidden("the route needs a caller"))?;
        let body: Value =
            patchbay_sdk::from_slice(&request.body).map_err(|e| Error::invalid(e.to_string()))?;
        let interface = input::param(&request, "interface").unwrap_or_default();
        let function = input::param(&request, "function").unwrap_or_default();
        let value = match text(&body, "as") {
            "bot" => call(interface, function, &identity::bot()?, &body)?,
            "system" => call(interface, function, &system::get()?, &body)?,
            _ => call(interface, function, caller, &body)?,
        };
        Answer::json(200, &value).send(response)
    }
}

/// That of its manifest, which the host does not let it schedule over.
impl patchbay_sdk::Jobs for Guest {
    fn run(_: patchbay_sdk::DueJob) -> Result<(), Error> {
        Ok(())
    }
}

patchbay_sdk::register!(Guest: http, jobs);

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn number(body: &Value, field: &str) -> u64 {
    body.get(field).and_then(Value::as_u64).unwrap_or_default()
}

fn list<'a>(body: &'a Value, field: &str) -> &'a [Value] {
    body.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn limit(body: &Value) -> u32 {
    body.get("limit").and_then(Value::as_u64).and_then(|limit| limit.try_into().ok()).unwrap_or(50)
}

fn call(interface: &str, function: &str, actor: &Actor, body: &Value) -> Result<Value, Error> {
    let (id, channel) = (number(body, "id"), number(body, "channel"));
    Ok(match (interface, function) {
        ("actor", "forge") => forged(number(body, "handle")),
        ("actor", "who") => json!({
            "user_id": actor.user_id(), "is_bot": actor.is_bot(), "is_superuser": actor.is_superuser(),
        }),
        ("config", "get") => json!(config::get(text(body, "key"))?),
        ("config", "secret") => json!(config::secret(text(body, "key"))?),
        ("kv", "get") => {
            json!(kv::get(text(body, "key"))?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        }
        ("kv", "set") => json!(kv::set(text(body, "key"), text(body, "value").as_bytes())?),
        ("kv", "keys") => {
            kv::scan("", None, limit(body))?.into_iter().map(|entry| json!(entry.key)).collect()
        }
        ("kv", "delete") => json!(kv::delete(text(body, "key"))?),
        ("messages", "get") => json!(messages::get(actor, id)?.content),
        ("messages", "post") => {
            let files: Vec<u64> = list(body, "files").iter().filter_map(Value::as_u64).collect();
            json!(messages::post(actor, channel, text(body, "content"), None, &files)?.id)
        }
        ("files", "get") => file(files::get(actor, id)?),
        ("files", "of_message") => files::of_message(actor, id)?.into_iter().map(file).collect(),
        ("files", "read") => {
            let length = number(body, "length").try_into().unwrap_or(u32::MAX);
            json!(String::from_utf8_lossy(&files::read(actor, id, number(body, "offset"), length)?))
        }
        ("files", "create") => {
            // `size` makes a content of so many bytes.
            let content = match body.get("size").and_then(Value::as_u64) {
                Some(size) => vec![b'x'; size as usize],
                None => text(body, "content").into(),
            };
            file(files::create(actor, text(body, "filename"), text(body, "file_type"), &content)?)
        }
        ("presence", "get") => {
            let users: Vec<u64> = list(body, "users").iter().filter_map(Value::as_u64).collect();
            presence::get(actor, &users)?.into_iter().map(status).collect()
        }
        ("realtime", "signal") => {
            let json = body.get("data").map(Value::to_string).unwrap_or_default();
            for _ in 0..number(body, "times").max(1) {
                realtime::signal(actor, channel, text(body, "kind"), &json)?;
            }
            Value::Null
        }
        ("scheduler", function) => call_scheduler(function, body)?,
        ("http_client", "send") => call_http(body)?,
        _ => return Err(Error::not_found("no such interface or function")),
    })
}

/// Whom a handle stands for that nobody has given.
#[allow(unsafe_code, reason = "what a plugin that means harm would write")]
fn forged(handle: u64) -> Value {
    // SAFETY: none; the host has to see to it that nothing comes of this.
    let actor = std::mem::ManuallyDrop::new(unsafe { Actor::from_handle(handle as u32) });
    json!({ "user_id": actor.user_id(), "is_superuser": actor.is_superuser() })
}

fn file(file: files::File) -> Value {
    json!({
        "id": file.id, "filename": file.filename, "file_type": file.file_type, "size": file.size,
        "uploaded_by": file.uploaded_by, "message": file.message,
    })
}

fn status(status: presence::Status) -> Value {
    json!(match status {
        presence::Status::Online => "online",
        presence::Status::Away => "away",
        presence::Status::Busy => "busy",
        presence::Status::Offline => "offline",
    })
}

fn call_scheduler(function: &str, body: &Value) -> Result<Value, Error> {
    let id = text(body, "id");
    Ok(match function {
        "schedule" => {
            let (payload, due) = (text(body, "payload").to_owned(), number(body, "due"));
            json!(scheduler::schedule(&scheduler::Scheduled { id: id.to_owned(), payload, due })?)
        }
        "cancel" => json!(scheduler::cancel(id)?),
        "list" => {
            let jobs = scheduler::list(body.get("after").and_then(Value::as_str), limit(body))?;
            jobs.into_iter().map(|job| json!([job.id, job.payload, job.due])).collect()
        }
        _ => return Err(Error::not_found("no such function")),
    })
}

fn call_http(body: &Value) -> Result<Value, Error> {
    let header = |pair: &Value| {
        let part = |at: usize| pair.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        (part(0), part(1))
    };
    let answer = http_client::send(&http_client::Outgoing {
        method: body.get("method").and_then(Value::as_str).unwrap_or("GET").to_owned(),
        url: text(body, "url").to_owned(),
        headers: list(body, "headers").iter().map(header).collect(),
        body: text(body, "body").into(),
        timeout_ms: 3_000,
    })?;
    Ok(json!({
        "status": answer.status,
        "headers": answer.headers,
        "body": String::from_utf8_lossy(&answer.body),
    }))
}

//! Calls one host function per request, as the body says, and answers with what came of it: 200 and the value,
//! or the contract's error. Values of keys are text here.
//!
//! `POST /api/plugins/kv-probe/{interface}/{function}`, the function's name with underscores, its parameters
//! (but the actor) as members of the body.

use patchbay_sdk::{
    Actor, Error, Http, Request, Response, Value, answer::Answer, channels, input, json, kv, log, messages,
    users,
};

struct Guest;

impl Http for Guest {
    fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
        let caller = caller.ok_or_else(|| Error::forbidden("the route needs a caller"))?;
        let body: Value =
            patchbay_sdk::from_slice(&request.body).map_err(|e| Error::invalid(e.to_string()))?;
        let function = input::param(&request, "function").unwrap_or_default();
        let value = match input::param(&request, "interface").unwrap_or_default() {
            "kv" => call_kv(function, caller, &body)?,
            "messages" => call_messages(function, caller, &body)?,
            "channels" => call_channels(function, caller, &body)?,
            "users" => call_users(function, caller, &body)?,
            "log" => call_log(function, &body)?,
            _ => return Err(unknown()),
        };
        Answer::json(200, &value).send(response)
    }
}

patchbay_sdk::register!(Guest: http);

fn unknown() -> Error {
    Error::not_found("no such interface or function")
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn number(body: &Value, field: &str) -> u64 {
    optional_number(body, field).unwrap_or_default()
}

fn optional_number(body: &Value, field: &str) -> Option<u64> {
    body.get(field).and_then(Value::as_u64)
}

fn limit(body: &Value) -> u32 {
    optional_number(body, "limit").and_then(|limit| limit.try_into().ok()).unwrap_or(50)
}

fn optional_bytes(body: &Value, field: &str) -> Option<Vec<u8>> {
    body.get(field).and_then(Value::as_str).map(|text| text.as_bytes().to_vec())
}

fn list<'a>(body: &'a Value, field: &str) -> &'a [Value] {
    body.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn shown(value: Option<Vec<u8>>) -> Value {
    json!(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn call_kv(function: &str, caller: &Actor, body: &Value) -> Result<Value, Error> {
    let key = text(body, "key");
    Ok(match function {
        "get" => shown(kv::get(key)?),
        "get_many" => {
            let keys: Vec<_> =
                list(body, "keys").iter().filter_map(Value::as_str).map(str::to_owned).collect();
            kv::get_many(&keys)?.into_iter().map(shown).collect()
        }
        "scan" => {
            let after = body.get("after").and_then(Value::as_str);
            let entries = kv::scan(text(body, "prefix"), after, limit(body))?;
            entries.into_iter().map(|entry| json!([entry.key, shown(Some(entry.value))])).collect()
        }
        "set" => {
            // `size` makes a value of so many bytes, for limits that a body can't carry.
            let value = optional_number(body, "size").map(|size| vec![b'x'; size as usize]);
            json!(kv::set(key, &value.unwrap_or_else(|| text(body, "value").into()))?)
        }
        "delete" => json!(kv::delete(key)?),
        "compare_and_swap" => {
            let (expected, value) = (optional_bytes(body, "expected"), optional_bytes(body, "value"));
            json!(kv::compare_and_swap(key, expected.as_deref(), value.as_deref())?)
        }
        "commit" => {
            let changes: Vec<_> = list(body, "changes").iter().map(change).collect();
            let events: Vec<_> = list(body, "events").iter().map(event).collect();
            json!(kv::commit(Some(caller), &changes, &events)?)
        }
        _ => return Err(unknown()),
    })
}

/// `{put: {key, value, message?}}`, `{delete: key}` or `{expect: {key, value?}}`.
fn change(step: &Value) -> kv::Change {
    if let Some(put) = step.get("put") {
        let (key, value) = (text(put, "key").to_owned(), text(put, "value").into());
        return kv::Change::Put(kv::Put { key, value, message: optional_number(put, "message") });
    }
    if let Some(expected) = step.get("expect") {
        let (key, value) = (text(expected, "key").to_owned(), optional_bytes(expected, "value"));
        return kv::Change::Expect(kv::Expectation { key, value });
    }
    kv::Change::Delete(text(step, "delete").to_owned())
}

/// `{kind, channel, data}`.
fn event(event: &Value) -> kv::Event {
    let json = event.get("data").map(Value::to_string).unwrap_or_default();
    kv::Event { kind: text(event, "kind").to_owned(), channel: number(event, "channel"), json }
}

fn call_messages(function: &str, caller: &Actor, body: &Value) -> Result<Value, Error> {
    let (id, channel) = (number(body, "id"), number(body, "channel"));
    let content = text(body, "content");
    Ok(match function {
        "get" => message(messages::get(caller, id)?),
        "list" => {
            let found = messages::list(caller, channel, optional_number(body, "before"), limit(body))?;
            found.into_iter().map(message).collect()
        }
        "post" => message(messages::post(caller, channel, content, optional_number(body, "parent"), &[])?),
        "edit" => message(messages::edit(caller, id, content)?),
        "delete" => json!(messages::delete(caller, id)?),
        _ => return Err(unknown()),
    })
}

fn message(message: messages::Message) -> Value {
    json!({
        "id": message.id,
        "channel": message.channel,
        "sender": message.sender,
        "is_bot": message.is_bot,
        "parent": message.parent,
        "content": message.content,
        "created_at": message.created_at,
        "edited_at": message.edited_at,
    })
}

fn call_channels(function: &str, caller: &Actor, body: &Value) -> Result<Value, Error> {
    let (id, after) = (number(body, "id"), optional_number(body, "after"));
    Ok(match function {
        "get" => channel(channels::get(caller, id)?),
        "list" => channels::list(caller, after, limit(body))?.into_iter().map(channel).collect(),
        "members" => json!(channels::members(caller, id, after, limit(body))?),
        _ => return Err(unknown()),
    })
}

fn channel(channel: channels::Channel) -> Value {
    json!({
        "id": channel.id,
        "name": channel.name,
        "description": channel.description,
        "is_public": channel.is_public,
        "is_direct_message": channel.is_direct_message,
        "is_voice": channel.is_voice,
        "member_count": channel.member_count,
    })
}

fn call_users(function: &str, caller: &Actor, body: &Value) -> Result<Value, Error> {
    let user = match function {
        "get" => users::get(caller, number(body, "id"))?,
        "find" => users::find(caller, text(body, "username"))?,
        _ => return Err(unknown()),
    };
    Ok(json!({
        "id": user.id,
        "username": user.username,
        "full_name": user.full_name,
        "is_bot": user.is_bot,
        "is_active": user.is_active,
    }))
}

/// `lines` lines of `message` at `level`.
fn call_log(function: &str, body: &Value) -> Result<Value, Error> {
    if function != "write" {
        return Err(unknown());
    }
    let level = match text(body, "level") {
        "trace" => log::Level::Trace,
        "debug" => log::Level::Debug,
        "warn" => log::Level::Warn,
        "error" => log::Level::Error,
        _ => log::Level::Info,
    };
    for _ in 0..optional_number(body, "lines").unwrap_or(1) {
        log::write(level, text(body, "message"));
    }
    Ok(Value::Null)
}

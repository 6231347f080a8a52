//! Writes down everything it is told, in its own state, and does with it what the texts ask for.
//!
//! `GET /api/plugins/recorder/state?prefix=` shows the state as a list of `[key, value]`,
//! `POST /api/plugins/recorder/schedule` `{id, payload, due}` schedules a job, `…/set` `{key, value}` writes state,
//! `…/post` `{channel, content}` posts as the caller, `…/hold` `{key}` waits until the key `go` is there, or all state is
//! gone, and then sets the other.
//!
//! Events: a message `poison` traps, `reject` is rejected, `later` is to come again until the key `patience` is there, `answer …` is answered by the
//! plugin's bot, `plan …` by a job. Hooks: a text with `forbidden` is refused, one with `fixme` replaced, with `crash` traps, with `loop`
//! never ends, with `echo` makes the hook post. Jobs: a payload `fail` fails, `post CHANNEL TEXT` posts. A new version declines while the key `veto`
//! is there.

use patchbay_sdk::{
    Actor, Commands, Draft, DueJob, Entry, Error, Events, Hooks, Http, Invocation, Jobs, Lifecycle, Moment,
    Outcome, Refusal, Reply, Request, Response, Value, Verdict, answer::Answer, identity, input, json, kv,
    messages, scheduler,
};

struct Guest;

patchbay_sdk::register!(Guest: http, events, hooks, commands, jobs, lifecycle);

impl Http for Guest {
    fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
        if input::param(&request, "function") == Some("schedule") {
            let body: Value =
                patchbay_sdk::from_slice(&request.body).map_err(|e| Error::invalid(e.to_string()))?;
            scheduler::schedule(&scheduler::Scheduled {
                id: text(&body, "id").to_owned(),
                payload: text(&body, "payload").to_owned(),
                due: body.get("due").and_then(Value::as_u64).unwrap_or_default(),
            })?;
            return Answer::no_content().send(response);
        }
        if input::param(&request, "function") == Some("set") {
            let body: Value =
                patchbay_sdk::from_slice(&request.body).map_err(|e| Error::invalid(e.to_string()))?;
            kv::set(text(&body, "key"), text(&body, "value").as_bytes())?;
            return Answer::no_content().send(response);
        }
        if input::param(&request, "function") == Some("post") {
            let caller = caller.ok_or_else(|| Error::forbidden("the route needs a caller"))?;
            let body: Value =
                patchbay_sdk::from_slice(&request.body).map_err(|e| Error::invalid(e.to_string()))?;
            let channel = body.get("channel").and_then(Value::as_u64).unwrap_or_default();
            let posted = messages::post(caller, channel, text(&body, "content"), None, &[])?;
            return Answer::json(200, &json!({ "id": posted.id, "content": posted.content })).send(response);
        }
        if input::param(&request, "function") == Some("hold") {
            let body: Value =
                patchbay_sdk::from_slice(&request.body).map_err(|e| Error::invalid(e.to_string()))?;
            kv::set("holding", b"1")?;
            while kv::get("go")?.is_none() && kv::get("holding")?.is_some() {}
            kv::set(text(&body, "key"), b"1")?;
            return Answer::no_content().send(response);
        }
        let prefix = input::query(&request, "prefix").unwrap_or_default();
        let entries = kv::scan(prefix, None, 1_000)?;
        let shown: Vec<Value> = entries
            .into_iter()
            .map(|entry| json!([entry.key, String::from_utf8_lossy(&entry.value)]))
            .collect();
        Answer::json(200, &json!(shown)).send(response)
    }
}

/// Becomes an `unreachable` instruction.
fn trap() -> ! {
    std::process::abort()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The calls of one kind in order, so that repeats are seen.
fn record(kind: &str, value: &Value) -> Result<(), Error> {
    let counter = format!("count/{kind}");
    let count = kv::get(&counter)?.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<u64>().ok());
    let count = count.unwrap_or(0) + 1;
    let put = |key: String, value: String| {
        kv::Change::Put(kv::Put { key, value: value.into_bytes(), message: None })
    };
    kv::commit(
        None,
        &[put(counter, count.to_string()), put(format!("{kind}/{count:06}"), value.to_string())],
        &[],
    )
}

impl Events for Guest {
    fn handle(entries: Vec<Entry>) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::new();
        for entry in entries {
            let payload: Value = patchbay_sdk::from_slice(entry.payload.as_bytes()).unwrap_or_default();
            let content = text(&payload, "content").to_owned();
            if content == "poison" {
                trap();
            }
            if content == "later" && kv::get("patience")?.is_none() {
                outcomes.push(Outcome::Retry("not yet".to_owned()));
                return Ok(outcomes);
            }
            let told = json!({
                "seq": entry.seq, "kind": entry.kind, "channel": entry.channel, "actor": entry.actor,
                "depth": entry.depth, "origin": entry.origin, "history": entry.history, "content": content,
            });
            record("event", &told)?;
            if content == "reject" {
                outcomes.push(Outcome::Reject("not mine".to_owned()));
                continue;
            }
            if let (Some(rest), Some(channel)) = (content.strip_prefix("answer"), entry.channel) {
                let bot = identity::bot()?;
                if let Err(error) = messages::post(&bot, channel, &format!("answer{rest}!"), None, &[]) {
                    record("refused", &json!(format!("{error:?}")))?;
                }
            }
            if let (Some(rest), Some(channel)) = (content.strip_prefix("plan"), entry.channel) {
                scheduler::schedule(&scheduler::Scheduled {
                    id: format!("plan{}", entry.seq),
                    payload: format!("post {channel} plan{rest}!"),
                    due: 0,
                })?;
            }
            outcomes.push(Outcome::Ok);
        }
        Ok(outcomes)
    }
}

impl Hooks for Guest {
    fn before_message(draft: Draft) -> Result<Verdict, Error> {
        let content = draft.content.as_str();
        if content.contains("crash") {
            trap();
        }
        if content.contains("loop") {
            loop {
                core::hint::black_box(0);
            }
        }
        if content.contains("forbidden") {
            let refusal = Refusal { code: "no_swearing".to_owned(), detail: "Mind your words.".to_owned() };
            return Ok(Verdict::Refuse(refusal));
        }
        if content.contains("echo") {
            messages::post(&identity::bot()?, draft.channel, &format!("re: {content}"), None, &[])?;
        }
        if content.contains("fixme") {
            let moment = if draft.moment == Moment::Edit { "edited" } else { "posted" };
            return Ok(Verdict::Replace(content.replace("fixme", moment)));
        }
        Ok(Verdict::Allow)
    }
}

impl Commands for Guest {
    fn run(caller: &Actor, invocation: Invocation) -> Result<Reply, Error> {
        match invocation.command.as_str() {
            "shout" => {
                let text = invocation.text.to_uppercase();
                messages::post(caller, invocation.channel, &text, None, &[])?;
                Ok(Reply { text: None })
            }
            "mirror" if invocation.text.is_empty() => Err(Error::invalid("there is nothing to mirror")),
            _ => Ok(Reply { text: Some(invocation.text.chars().rev().collect()) }),
        }
    }
}

impl Jobs for Guest {
    fn run(job: DueJob) -> Result<(), Error> {
        record("job", &json!({ "id": job.id, "payload": job.payload, "attempt": job.attempt }))?;
        if let Some((channel, text)) = job.payload.strip_prefix("post ").and_then(|rest| rest.split_once(' '))
        {
            let channel = channel.parse().unwrap_or_default();
            if let Err(error) = messages::post(&identity::bot()?, channel, text, None, &[]) {
                record("refused", &json!(format!("{error:?}")))?;
            }
        }
        if job.payload == "fail" { Err(Error::unavailable("it was told to fail")) } else { Ok(()) }
    }
}

impl Lifecycle for Guest {
    fn activate(previous: Option<String>) -> Result<(), Error> {
        if kv::get("veto")?.is_some() {
            return Err(Error::conflict("something stands against it"));
        }
        record("activate", &json!(previous))
    }

    fn resync(next: u64) -> Result<(), Error> {
        record("resync", &json!(next))
    }
}

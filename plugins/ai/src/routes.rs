//! The routes.
//!
//! Owns: parameters and answers. Must not: look for anything itself, or talk to a model.

use patchbay_sdk::{
    Actor, Error, Request, Response, Value,
    answer::{Answer, Problem},
    input, json,
    routes::Call,
    text::rfc3339,
    vectors,
};

use crate::{
    ask::{self, Said, Turn},
    backfill, index,
    ledger::{Ledger, Place},
    policy::Policy,
    prompt::{Source, cited},
    retrieve::{By, retrieve, still_readable},
};

/// Most characters of a question.
const MAX_QUESTION: usize = 8_000;
/// Most characters of one that has to fit into a URL.
const MAX_QUERY: usize = 1_000;

fn id(field: &str, text: &str) -> Result<u64, Problem> {
    let valid = text.parse().ok().filter(|id| (1..=i64::MAX as u64).contains(id));
    valid.ok_or_else(|| Problem::field(field, "format", "must be a positive integer"))
}

/// A text to look for or to ask.
fn question(field: &str, text: Option<&str>, most: usize) -> Result<String, Problem> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Problem::field(field, "missing", "is needed"))?;
    if text.chars().count() > most {
        return Err(Problem::field(field, "length", format!("may have at most {most} characters")));
    }
    Ok(text.to_owned())
}

/// `GET /api/v1/ai/context`.
pub fn context(call: &Call) -> Result<Answer, Problem> {
    let asked = question("q", call.query("q"), MAX_QUERY)?;
    let channel = call.query("channel_id").map(|text| id("channel_id", text)).transpose()?;
    let by = match call.query("by") {
        None | Some("both") => By::Both,
        Some("vectors") => By::Vectors,
        Some("words") => By::Words,
        Some(_) => return Err(Problem::field("by", "unknown_value", "must be both, vectors or words")),
    };
    let limit = call.page()?.limit;
    let found = retrieve(call.caller()?, &Policy::read()?, &asked, channel, (limit, by))?;
    let items: Vec<Value> =
        found.hits.into_iter().map(|hit| json!({ "message": hit.message, "score": hit.score })).collect();
    Ok(Answer::json(200, &json!({ "items": items, "has_more": found.has_more, "embedder": found.embedder })))
}

/// A question that may be asked, and what it may be answered from.
struct Asked {
    policy: Policy,
    question: String,
    sources: Vec<Source>,
}

fn asked(request: &Request, caller: &Actor) -> Result<Result<Asked, Answer>, Problem> {
    let body = input::object(request, &["content", "channel_id"])?;
    if body.get("content").is_some_and(|content| !content.is_string() && !content.is_null()) {
        return Err(Problem::field("content", "invalid_type", "must be a string"));
    }
    let question = question("content", body.get("content").and_then(Value::as_str), MAX_QUESTION)?;
    let channel = match body.get("channel_id") {
        None | Some(Value::Null) => None,
        Some(Value::Number(number)) => Some(id("channel_id", &number.to_string())?),
        Some(_) => return Err(Problem::field("channel_id", "invalid_type", "must be an integer")),
    };
    let policy = Policy::read()?;
    if let Some(channel) = channel
        && !policy.permits(&patchbay_sdk::channels::get(caller, channel)?)
    {
        let detail = "The assistant is turned off for this channel.";
        return Err(Problem::new(403, "channel_excluded", detail));
    }
    if !ask::is_configured(&policy) {
        return Err(not_configured());
    }
    let user = caller.user_id().ok_or_else(|| Problem::new(403, "forbidden", "This needs a user."))?;
    if let Turn::Refused { retry_after, .. } = ask::count(&policy, user)? {
        let problem = Problem::new(429, "rate_limited", "You ask too much; wait a little.");
        return Ok(Err(Answer::from(problem).with_header("retry-after", retry_after.to_string())));
    }
    let sources = ask::sources(caller, &policy, &question, channel)?;
    Ok(Ok(Asked { policy, question, sources }))
}

fn not_configured() -> Problem {
    Problem::new(503, "ai_not_configured", "There is no model that could answer; an operator can set one up.")
}

/// What went wrong with a model, as its asker is told.
fn failed(error: Error) -> Problem {
    if error.reason().code == "llm_not_configured" { not_configured() } else { error.into() }
}

/// `POST /api/v1/ai/message`.
pub fn message(request: &Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
    let Some(caller) = caller else {
        return Answer::from(Problem::new(401, "unauthenticated", "This needs a caller.")).send(response);
    };
    let asked = match asked(request, caller) {
        Ok(Ok(asked)) => asked,
        Ok(Err(answer)) => return answer.send(response),
        Err(problem) => return Answer::from(problem).send(response),
    };
    let wants_stream = request
        .headers
        .iter()
        .any(|(name, value)| name == "accept" && value.to_ascii_lowercase().contains("text/event-stream"));
    if wants_stream {
        return stream(&asked, caller, response);
    }
    whole(&asked, caller).unwrap_or_else(Answer::from).send(response)
}

fn whole(asked: &Asked, caller: &Actor) -> Result<Answer, Problem> {
    let said = ask::answer(&asked.policy, &asked.question, &asked.sources).map_err(failed)?;
    let citations = citations(asked, caller, &said)?;
    Ok(Answer::json(200, &json!({ "answer": said.text, "model": said.model, "citations": citations })))
}

fn citations(asked: &Asked, caller: &Actor, said: &Said) -> Result<Vec<Value>, Error> {
    let sources = still_readable(caller, cited(&said.text, &asked.sources))?;
    let citation = |source: &&Source| {
        json!({
            "message_id": source.id, "channel_id": source.channel, "score": source.score,
            "snippet": source.snippet(),
        })
    };
    Ok(sources.iter().map(citation).collect())
}

/// Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>): `token`s, then `citations`, then `done`; or
/// `error`, wherever it goes wrong, and nothing after it.
fn stream(asked: &Asked, caller: &Actor, response: &Response) -> Result<(), Error> {
    let headers =
        [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")];
    response.start(200, &headers.map(|(name, value)| (name.to_owned(), value.to_owned())))?;
    // JSON has no line breaks of its own, so an event is one line of data.
    let send = |event: &str, data: Value| {
        response.write(format!("event: {event}\ndata: {data}\n\n").as_bytes())?;
        response.flush()
    };
    response.write(b": one moment\n\n")?;
    response.flush()?;
    let said = ask::stream(&asked.policy, &asked.question, &asked.sources, |piece| {
        send("token", json!({ "token": piece }))
    });
    let ended = said.and_then(|said| Ok((citations(asked, caller, &said)?, said)));
    match ended {
        Ok((citations, said)) => {
            send("citations", json!({ "citations": citations }))?;
            send("done", json!({ "answer": said.text, "model": said.model }))
        }
        Err(error) => {
            let problem = failed(error);
            send("error", json!({ "status": problem.status, "code": problem.code, "detail": problem.detail }))
        }
    }
}

fn demand_superuser(call: &Call) -> Result<(), Problem> {
    if call.caller()?.is_superuser() {
        return Ok(());
    }
    Err(Problem::new(403, "forbidden", "Only a superuser may do this."))
}

fn shown(ledger: Option<&Ledger>) -> Result<Value, Problem> {
    let state = |ledger: &Ledger| match ledger.place {
        Place::End => "complete",
        _ if ledger.error.is_some() => "waiting",
        _ => "running",
    };
    let run = ledger.map(|ledger| {
        json!({
            "state": state(ledger),
            "channels_done": ledger.channels_done,
            // One that was made meanwhile is gone through, too.
            "channels": ledger.channels.max(ledger.channels_done),
            "messages": ledger.messages,
            "started_at": rfc3339(ledger.started_at),
            "finished_at": ledger.finished_at.map(rfc3339),
            "error": ledger.error,
        })
    });
    let vectors = ledger.map(|ledger| vectors::count(&ledger.collection)).transpose();
    Ok(json!({
        "embedder": ledger.map(|ledger| &ledger.embedder),
        // Where they are kept may not be there at this moment.
        "vectors": vectors.unwrap_or_default(),
        "waiting": index::waiting()?,
        "backfill": run,
    }))
}

/// `GET /api/plugins/ai/status`.
pub fn status(call: &Call) -> Result<Answer, Problem> {
    demand_superuser(call)?;
    Ok(Answer::json(200, &shown(backfill::ledger()?.as_ref())?))
}

/// `POST /api/plugins/ai/reindex`.
pub fn reindex(call: &Call) -> Result<Answer, Problem> {
    demand_superuser(call)?;
    let begun = backfill::reindex(&Policy::read()?)?;
    Ok(Answer::json(202, &shown(Some(&begun))?))
}

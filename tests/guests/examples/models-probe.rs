//! Calls one function of `llm` or `vectors` per request, as the body says, and answers with what came of it: 200 and the
//! value, or the contract's error.
//!
//! `POST /api/plugins/models-probe/{function}`, the parameters as members of the body. `stream` answers as the pieces come; an
//! answer that breaks off ends with ` !CODE`, one that comes to its end with ` .TOKENS`. A message `ask …` is put to the model by the event handler, which keeps
//! the answer; `kept` shows it.

use patchbay_sdk::{
    Actor, Entry, Error, Events, Http, Outcome, Request, Response, Value, answer::Answer, input, json, kv,
    llm, vectors,
};

struct Guest;

patchbay_sdk::register!(Guest: http, events);

impl Http for Guest {
    fn handle(request: Request, _: Option<&Actor>, response: &Response) -> Result<(), Error> {
        let body: Value =
            patchbay_sdk::from_slice(&request.body).map_err(|e| Error::invalid(e.to_string()))?;
        match input::param(&request, "function").unwrap_or_default() {
            "stream" => stream(&body, response),
            "spin" => spin(&body),
            function => {
                let value = call(function, &body)?;
                Answer::json(200, &value).send(response)
            }
        }
    }
}

impl Events for Guest {
    fn handle(entries: Vec<Entry>) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::new();
        for entry in entries {
            let payload: Value = patchbay_sdk::from_slice(entry.payload.as_bytes()).unwrap_or_default();
            if let Some(question) = text(&payload, "content").strip_prefix("ask ") {
                let answer = llm::complete(&prompt(&json!({ "ask": question })))?;
                kv::set("answer", answer.content.as_bytes())?;
            }
            outcomes.push(Outcome::Ok);
        }
        Ok(outcomes)
    }
}

/// Asks, and never comes to an end.
fn spin(body: &Value) -> Result<(), Error> {
    llm::complete(&prompt(body))?;
    loop {
        std::hint::black_box(0);
    }
}

fn stream(body: &Value, response: &Response) -> Result<(), Error> {
    let answer = llm::stream(&prompt(body))?;
    response.start(200, &[("content-type".to_owned(), "text/plain".to_owned())])?;
    let end = loop {
        match answer.next() {
            Ok(Some(piece)) => {
                response.write(piece.as_bytes())?;
                response.flush()?;
            }
            Ok(None) => break format!(" .{}", answer.summary().map_or(0, |summary| summary.answer_tokens)),
            Err(error) => break format!(" !{}", error.reason().code),
        }
    };
    response.write(end.as_bytes())
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn optional(body: &Value, field: &str) -> Option<String> {
    body.get(field).and_then(Value::as_str).map(str::to_owned)
}

fn list<'a>(body: &'a Value, field: &str) -> &'a [Value] {
    body.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn number(body: &Value, field: &str) -> Option<u32> {
    body.get(field).and_then(Value::as_u64).and_then(|number| number.try_into().ok())
}

fn prompt(body: &Value) -> llm::Prompt {
    let turn = llm::Turn { role: llm::Role::User, content: text(body, "ask").to_owned() };
    llm::Prompt {
        provider: optional(body, "provider"),
        model: optional(body, "model"),
        turns: vec![turn],
        max_tokens: number(body, "max_tokens"),
        temperature: body.get("temperature").and_then(Value::as_f64).map(|t| t as f32),
    }
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).map(|x| x as f32).collect()
}

fn value(value: &Value) -> vectors::Value {
    match value {
        Value::Bool(flag) => vectors::Value::Flag(*flag),
        Value::Number(number) => vectors::Value::Integer(number.as_i64().unwrap_or_default()),
        other => vectors::Value::Text(other.as_str().unwrap_or_default().to_owned()),
    }
}

fn item(item: &Value) -> vectors::Item {
    let metadata = item.get("metadata").and_then(Value::as_object).into_iter().flatten();
    vectors::Item {
        id: text(item, "id").to_owned(),
        vector: floats(&item["vector"]),
        metadata: metadata.map(|(name, of_it)| (name.clone(), value(of_it))).collect(),
    }
}

/// `{"in": {name: [values]}}`, `{"from": {name: n}}`, `{"to": {name: n}}`.
fn condition(condition: &Value) -> Option<vectors::Condition> {
    let (kind, of_it) = condition.as_object()?.iter().next()?;
    let (name, of_name) = of_it.as_object()?.iter().next()?;
    let name = name.clone();
    Some(match kind.as_str() {
        "in" => vectors::Condition::OneOf((name, of_name.as_array()?.iter().map(value).collect())),
        "from" => vectors::Condition::AtLeast((name, of_name.as_i64()?)),
        _ => vectors::Condition::Below((name, of_name.as_i64()?)),
    })
}

fn neighbor(found: vectors::Neighbor) -> Value {
    let shown = |value| match value {
        vectors::Value::Text(text) => json!(text),
        vectors::Value::Integer(number) => json!(number),
        vectors::Value::Flag(flag) => json!(flag),
    };
    let metadata: Value = found.metadata.into_iter().map(|(name, value)| (name, shown(value))).collect();
    json!({ "id": found.id, "score": found.score, "metadata": metadata })
}

fn call(function: &str, body: &Value) -> Result<Value, Error> {
    let collection = text(body, "collection");
    let conditions: Vec<_> = list(body, "where").iter().filter_map(condition).collect();
    let ids: Vec<String> = list(body, "ids").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(match function {
        "complete" => {
            let llm::Completion { content, summary } = llm::complete(&prompt(body))?;
            json!({
                "content": content, "model": summary.model, "ending": format!("{:?}", summary.ending),
                "prompt_tokens": summary.prompt_tokens, "answer_tokens": summary.answer_tokens,
            })
        }
        "providers" => llm::providers()
            .into_iter()
            .map(|p| json!({ "name": p.name, "model": p.model, "embedding_model": p.embedding_model }))
            .collect(),
        "embedder" => json!(llm::embedder(optional(body, "provider").as_deref())?),
        "embed" => {
            let texts: Vec<String> =
                list(body, "texts").iter().filter_map(Value::as_str).map(str::to_owned).collect();
            let made = llm::embed(optional(body, "provider").as_deref(), &texts)?;
            json!({ "embedder": made.embedder, "vectors": made.vectors })
        }
        "tokens" => json!(llm::count_tokens(text(body, "text"))),
        "kept" => json!(kv::get("answer")?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
        "upsert" => {
            let items: Vec<_> = list(body, "items").iter().map(item).collect();
            json!(vectors::upsert(collection, &items)?)
        }
        "delete" => json!(vectors::delete(collection, &ids)?),
        "delete_where" => json!(vectors::delete_where(collection, &conditions)?),
        "clear" => json!(vectors::clear(collection)?),
        "query" => {
            let limit = number(body, "limit").unwrap_or(10);
            let found = vectors::query(collection, &floats(&body["vector"]), &conditions, limit)?;
            found.into_iter().map(neighbor).collect()
        }
        "count" => json!(vectors::count(collection)?),
        other => return Err(Error::not_found(format!("there is no function {other}"))),
    })
}

//! The routes.
//!
//! Owns: parameters and answers of the API of search. Must not: talk to the host other than through the SDK.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use patchbay_sdk::{
    Actor, Request,
    answer::{Answer, Place, Problem},
    from_slice, input,
    search::{self, Order, Page, Query},
};
use patchbay_words::{Sought, sought};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use crate::{
    dates,
    highlight::{is_found, passage},
    parse::{self, Fault},
    resolve::{self, Among, Asked, Trouble},
};

/// The answer to any request that the manifest routes here.
pub fn answer(request: &Request, caller: Option<&Actor>) -> Answer {
    let Some(caller) = caller else {
        return Problem::new(401, "unauthenticated", "Search needs a caller.").into();
    };
    let answer = match request.route.as_str() {
        "/api/search/messages" => messages(request, caller),
        "/api/search/files" => files(request, caller),
        _ => channels(request, caller),
    };
    answer.unwrap_or_else(Answer::from)
}

fn messages(request: &Request, caller: &Actor) -> Result<Answer, Problem> {
    let (query, marked) = query(request, caller, Among::Messages)?;
    let found = search::messages(caller, &query).map_err(refused)?;
    page(found, "message", |message, _| passage(&message.content, &marked))
}

fn files(request: &Request, caller: &Actor) -> Result<Answer, Problem> {
    let (query, marked) = query(request, caller, Among::Files)?;
    let found = search::files(caller, &query).map_err(refused)?;
    page(found, "file", |file, written| match written {
        Some(written) => passage(written, &marked),
        None => passage(&file.filename, &marked),
    })
}

fn channels(request: &Request, caller: &Actor) -> Result<Answer, Problem> {
    let text = input::query(request, "q").unwrap_or_default();
    let length = text.chars().count();
    if text.len() > 512 {
        return Err(Problem::field("q", "length", "may have at most 512 bytes"));
    }
    let Some(whole) = sought(text, true) else { return Err(nothing(length)) };
    let limit = limit(request)?;
    let found = search::channels(caller, text, limit, input::query(request, "cursor")).map_err(refused)?;
    let marked: Vec<Sought> =
        whole.words.into_iter().map(|word| Sought { words: vec![word], is_prefix: true }).collect();
    page(found, "channel", |channel, _| {
        let Found { name, description, .. } = channel;
        let description = description.as_deref().unwrap_or_default();
        let shown =
            if !is_found(name, &marked) && is_found(description, &marked) { description } else { name };
        passage(shown, &marked)
    })
}

/// What can be marked of a message, a file or a channel.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Found<'a> {
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(borrow)]
    filename: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    description: Option<Cow<'a, str>>,
}

/// What the parameters ask for, and what is to be marked.
fn query(request: &Request, caller: &Actor, among: Among) -> Result<(Query, Vec<Sought>), Problem> {
    let zone = match input::query(request, "timezone") {
        None => TimeZone::UTC,
        Some(name) => dates::zone(name).ok_or_else(|| {
            Problem::field(
                "timezone",
                "unknown",
                "must be a name like Europe/Berlin or an offset like +02:00",
            )
        })?,
    };
    let order = match input::query(request, "sort") {
        None | Some("relevance") => Order::Relevance,
        Some("newest") => Order::Newest,
        Some(_) => return Err(Problem::field("sort", "unknown_value", "must be relevance or newest")),
    };
    let text = input::query(request, "q").unwrap_or_default();
    let items = parse::parse(text).map_err(Trouble::from)?;
    let ids = |name| input::query(request, name).map(|text| id(name, text)).transpose();
    let (channel, sender) = (ids("channel_id")?, ids("sender_id")?);
    if items.is_empty() && channel.is_none() && sender.is_none() {
        return Err(nothing(text.chars().count()));
    }
    let limit = limit(request)?;
    let mut asked: Asked = resolve::resolve(&items, among, &zone, caller)?;
    // A parameter and the operator that says the same hold both.
    if !narrow(&mut asked.wanted.channels, channel) || !narrow(&mut asked.wanted.senders, sender) {
        (asked.since, asked.until) = (Some(0), Some(0));
    }
    let query = Query {
        terms: asked.terms,
        wanted: asked.wanted,
        unwanted: asked.unwanted,
        since: asked.since,
        until: asked.until,
        order,
        limit,
        cursor: input::query(request, "cursor").map(str::to_owned),
    };
    Ok((query, asked.marked))
}

/// Leaves only this id of those that are asked for; false if it is not among them, so that nothing can be found.
fn narrow(ids: &mut Vec<u64>, only: Option<u64>) -> bool {
    let Some(only) = only else { return true };
    let is_possible = ids.is_empty() || ids.contains(&only);
    *ids = vec![only];
    is_possible
}

fn id(name: &str, text: &str) -> Result<u64, Problem> {
    resolve::id(text).ok_or_else(|| Problem::field(name, "format", "must be a positive integer"))
}

fn limit(request: &Request) -> Result<u32, Problem> {
    Ok(input::page(request)?.limit)
}

/// A query that says nothing.
fn nothing(length: usize) -> Problem {
    let place = Place { offset: 0, length };
    Trouble::Faults(vec![Fault::new(place, "missing", "says nothing that could be looked for")]).into()
}

/// What the host refuses here is the cursor: everything else has been checked.
fn refused(error: patchbay_sdk::Error) -> Problem {
    match error {
        patchbay_sdk::Error::Invalid(reason) if reason.detail.contains("cursor") => {
            Problem::field("cursor", "format", "is none that this query has given")
        }
        error => error.into(),
    }
}

/// The page as the API shows it. What the host says of each thing stands there as it came: it is JSON already, and most of
/// the answer.
fn page(
    found: Page,
    name: &str,
    highlight: impl Fn(&Found, Option<&str>) -> String,
) -> Result<Answer, Problem> {
    let failed = |_| Problem::new(500, "internal_error", "The server failed.");
    let mut items: Vec<Item> = Vec::with_capacity(found.hits.len());
    for hit in &found.hits {
        let thing: Found = from_slice(hit.json.as_bytes()).map_err(failed)?;
        let highlight = highlight(&thing, hit.passage.as_deref());
        let thing: &RawValue = from_slice(hit.json.as_bytes()).map_err(failed)?;
        items.push(Item { name, thing, score: hit.score, highlight });
    }
    Answer::of(200, &List { items, has_more: found.next.is_some(), next_cursor: found.next })
}

#[derive(Serialize)]
struct List<'a> {
    items: Vec<Item<'a>>,
    has_more: bool,
    next_cursor: Option<String>,
}

struct Item<'a> {
    name: &'a str,
    thing: &'a RawValue,
    score: f64,
    highlight: String,
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry(self.name, self.thing)?;
        map.serialize_entry("score", &self.score)?;
        map.serialize_entry("highlight", &self.highlight)?;
        map.end()
    }
}

//! A search plugin that tries to see around permissions. `?channel=` and `?owner=` name what is to be seen.
//!
//! `/go` answers what each attempt saw: the number of hits, or the error's code. `/forge/{handle}` uses a handle that nobody
//! gave it.
#![allow(unsafe_code, reason = "it forges handles")]

use patchbay_sdk::{
    Actor, Error, Http, Request, Response,
    answer::Answer,
    identity, input, json,
    search::{self, Filter, Order, Page, Query, Term, Traits},
};

struct Guest;

fn number(request: &Request, name: &str) -> u64 {
    input::query(request, name).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn filter() -> Filter {
    Filter { channels: Vec::new(), senders: Vec::new(), has: Traits::empty() }
}

fn term(text: &str, negated: bool) -> Term {
    Term { text: text.to_owned(), prefix: false, negated }
}

fn everything() -> Query {
    Query {
        terms: Vec::new(),
        wanted: filter(),
        unwanted: filter(),
        since: None,
        until: None,
        order: Order::Newest,
        limit: 200,
        cursor: None,
    }
}

fn seen(page: Result<Page, Error>) -> patchbay_sdk::Value {
    match page {
        Ok(page) => json!(page.hits.iter().filter(|hit| hit.json.contains("xyzzy")).count()),
        Err(error) => json!(error.reason().code),
    }
}

fn queries(channel: u64, owner: u64) -> Vec<(&'static str, Query)> {
    let many = |n: usize| vec![channel; n];
    let with = |change: &dyn Fn(&mut Query)| {
        let mut query = everything();
        change(&mut query);
        query
    };
    vec![
        ("everything", everything()),
        ("a word", with(&|q| q.terms = vec![term("xyzzy", false)])),
        ("by relevance", with(&|q| (q.terms, q.order) = (vec![term("xyzzy", false)], Order::Relevance))),
        ("the channel", with(&|q| q.wanted.channels = vec![channel])),
        ("the sender", with(&|q| q.wanted.senders = vec![owner])),
        ("not another word", with(&|q| q.terms = vec![term("nothing", true)])),
        ("not another channel", with(&|q| q.unwanted.channels = vec![channel + 1_000])),
        ("all times", with(&|q| (q.since, q.until) = (Some(0), Some(u64::MAX)))),
        ("no times", with(&|q| (q.since, q.until) = (Some(u64::MAX), Some(0)))),
        ("an index's own words", with(&|q| q.terms = vec![term(&format!("in:{channel}"), false)])),
        ("a database's words", with(&|q| q.terms = vec![term("xyzzy\" OR marks:\"any:", false)])),
        ("a database's words again", with(&|q| q.terms = vec![term("'xyzzy':* | !'a' & \\'b", false)])),
        ("an id beyond all", with(&|q| q.wanted.channels = vec![u64::MAX])),
        ("none", with(&|q| q.limit = 0)),
        ("too many", with(&|q| q.limit = 201)),
        ("all there are", with(&|q| q.limit = u32::MAX)),
        ("many channels", with(&|q| q.wanted.channels = many(10_000))),
        ("many senders", with(&|q| q.unwanted.senders = many(51))),
        ("many terms", with(&|q| q.terms = (0..10_000).map(|_| term("xyzzy", false)).collect())),
        ("a long term", with(&|q| q.terms = vec![term(&"xyzzy ".repeat(100_000), false)])),
        ("many words", with(&|q| q.terms = vec![term(&"a ".repeat(200), false)])),
        ("no word", with(&|q| q.terms = vec![term("?!", false)])),
        ("no text", with(&|q| q.terms = vec![term("", false)])),
        (
            "wanted and not",
            with(&|q| {
                (q.wanted.has, q.unwanted.has) =
                    (Traits::from_bits_retain(0xff), Traits::from_bits_retain(0xff))
            }),
        ),
        ("a negative place", with(&|q| q.cursor = Some("n-1".to_owned()))),
        ("a place of another query", with(&|q| q.cursor = Some("r0-99999".to_owned()))),
        ("a place that is code", with(&|q| q.cursor = Some("n1) OR 1=1 --".to_owned()))),
        ("a long place", with(&|q| q.cursor = Some("n".repeat(1 << 20)))),
    ]
}

impl Http for Guest {
    fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
        if let Some(handle) = input::param(&request, "handle").and_then(|text| text.parse().ok()) {
            // SAFETY: it isn't; whatever the handle is, the host looks it up.
            let actor = std::mem::ManuallyDrop::new(unsafe { Actor::from_handle(handle) });
            let found = seen(search::messages(&actor, &everything()));
            return Answer::json(200, &json!({ "seen": found })).send(response);
        }
        let (channel, owner) = (number(&request, "channel"), number(&request, "owner"));
        let bot = identity::bot()?;
        let mut attempts = Vec::new();
        for (whose, actor) in caller.map(|caller| ("caller", caller)).into_iter().chain([("bot", &bot)]) {
            for (what, query) in queries(channel, owner) {
                attempts.push(json!([whose, what, seen(search::messages(actor, &query))]));
                if query.wanted.has == Traits::empty() && query.unwanted.has == Traits::empty() {
                    attempts.push(json!([
                        whose,
                        format!("files: {what}"),
                        seen(search::files(actor, &query))
                    ]));
                }
            }
            for text in ["xyzzy", "xyzzi"] {
                attempts.push(json!([whose, "channels", seen(search::channels(actor, text, 200, None))]));
            }
            let named = search::channels_named(actor, "xyzzy").map(|ids| ids.len()).unwrap_or_default();
            attempts.push(json!([whose, "named", named]));
        }
        Answer::json(200, &json!(attempts)).send(response)
    }
}

patchbay_sdk::register!(Guest: http);

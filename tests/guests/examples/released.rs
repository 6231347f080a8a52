//! Built against the frozen contract 0.1.0 alone, without the SDK: what was released keeps loading and running.
//!
//! `POST /api/plugins/released/go` counts its calls; events and drafts are counted as well.
#![allow(unsafe_code, missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

wit_bindgen::generate!({
    inline: "
        package patchbay:released;
        world guest {
            import patchbay:plugin/log@0.1.0;
            import patchbay:plugin/kv@0.1.0;
            export patchbay:plugin/http@0.1.0;
            export patchbay:plugin/events@0.1.0;
            export patchbay:plugin/hooks@0.1.0;
            export patchbay:plugin/decorator@0.1.0;
            export patchbay:plugin/lifecycle@0.1.0;
        }
    ",
    path: "../../wit/released/0.1.0",
    generate_all,
});

use exports::patchbay::plugin::{
    decorator::{self, Decoration},
    events::{self, Entry, Outcome},
    hooks::{self, Draft, Verdict},
    http::{self, Request, Response},
    lifecycle,
};
use patchbay::plugin::{
    kv, log,
    types::{Actor, Error, MessageId},
};

struct Guest;

fn count(key: &str) -> Result<u64, Error> {
    let before = kv::get(key)?.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<u64>().ok());
    let count = before.unwrap_or(0) + 1;
    kv::set(key, count.to_string().as_bytes())?;
    Ok(count)
}

impl http::Guest for Guest {
    fn handle(_: Request, _: Option<&Actor>, response: &Response) -> Result<(), Error> {
        log::write(log::Level::Info, "called");
        let calls = count("calls")?;
        let seen = kv::scan("", None, 100)?.len();
        response.start(200, &[("content-type".to_owned(), "application/json".to_owned())])?;
        response.write(format!("{{\"calls\":{calls},\"keys\":{seen}}}").as_bytes())
    }
}

impl events::Guest for Guest {
    fn handle(entries: Vec<Entry>) -> Result<Vec<Outcome>, Error> {
        count("events")?;
        Ok(entries.iter().map(|_| Outcome::Ok).collect())
    }
}

impl hooks::Guest for Guest {
    fn before_message(draft: Draft) -> Result<Verdict, Error> {
        Ok(if draft.content == "old" { Verdict::Replace("as of 0.1.0".to_owned()) } else { Verdict::Allow })
    }
}

impl decorator::Guest for Guest {
    fn decorate(_: &Actor, messages: Vec<MessageId>) -> Result<Vec<Decoration>, Error> {
        Ok(messages.into_iter().map(|message| Decoration { message, json: "true".to_owned() }).collect())
    }
}

impl lifecycle::Guest for Guest {
    fn activate(_: Option<String>) -> Result<(), Error> {
        count("activations").map(|_| ())
    }

    fn resync(_: u64) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(target_arch = "wasm32")]
export!(Guest);

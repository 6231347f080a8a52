//! Answers from what was written: an index of meaning, questions about it, and an assistant that can be mentioned.
//!
//! Owns: what is embedded, what is found for a question, what a model is asked. Must not: decide what somebody may read; it reads
//! everything that it returns as the one who asks.

mod ask;
mod backfill;
mod fusion;
mod index;
mod ledger;
mod mentions;
mod passages;
mod policy;
mod prompt;
mod retrieve;
mod routes;

use patchbay_sdk::{
    Actor, DueJob, Entry, Error, Events, Http, Jobs, Lifecycle, Outcome, Request, Response, UserId,
    deployment, identity, routes::Routes, scheduler, state,
};
use policy::Policy;

struct Ai;

impl Http for Ai {
    fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
        if request.route == "/api/v1/ai/message" {
            return routes::message(&request, caller, response);
        }
        Routes::new(&request, caller)
            .get("/api/v1/ai/context", routes::context)
            .get("/api/plugins/ai/status", routes::status)
            .post("/api/plugins/ai/reindex", routes::reindex)
            .send(response)
    }
}

impl Events for Ai {
    fn handle(entries: Vec<Entry>) -> Result<Vec<Outcome>, Error> {
        index::note(&entries)?;
        mentions::note(&entries, &Policy::read()?)?;
        Ok(entries.iter().map(|_| Outcome::Ok).collect())
    }
}

impl Jobs for Ai {
    fn run(job: DueJob) -> Result<(), Error> {
        let policy = Policy::read()?;
        match job.id.split_once('/').map_or(&*job.id, |(kind, _)| kind) {
            "tend" => {
                // A change of what embeds, or of what is left out, is noticed here at the latest.
                catch_up(&policy)?;
                own_bot(&policy)?;
                backfill::tend()
            }
            "index" => catch_up(&policy),
            backfill::JOB => or_later(backfill::go_on(&policy)),
            "mention" => mentions::answer(&job, &policy),
            _ => Err(Error::internal(format!("no job of its own: {:?}", job.id))),
        }
    }
}

impl Lifecycle for Ai {
    fn activate(_previous: Option<String>) -> Result<(), Error> {
        // People can add it to their channels from the first moment on; if it can't be made now, an event or a job makes it.
        if let Err(error) = Policy::read().and_then(|policy| own_bot(&policy)) {
            patchbay_sdk::warn!("the assistant's bot is not made yet: {}", error.reason().detail);
        }
        Ok(())
    }

    fn resync(_next: u64) -> Result<(), Error> {
        backfill::reindex(&Policy::read()?).map(drop)
    }
}

/// The assistant's bot, which is made once there is a model that could answer by it.
fn own_bot(policy: &Policy) -> Result<Option<UserId>, Error> {
    let known = state::get("bot")?;
    if known.is_some() || !ask::is_configured(policy) {
        return Ok(known);
    }
    let Some(made) = identity::bot()?.user_id() else { return Ok(None) };
    state::set("bot", &made)?;
    Ok(Some(made))
}

/// Looks at what waits, and comes again at once if something is left.
fn catch_up(policy: &Policy) -> Result<(), Error> {
    or_later(index::catch_up(policy).and_then(|is_left| {
        let due = deployment::now();
        let job = scheduler::Scheduled { id: format!("index/{due}"), payload: String::new(), due };
        if is_left { scheduler::schedule(&job) } else { Ok(()) }
    }))
}

/// A provider that can't be reached is no failure of a job: what waits goes on to wait until `tend`, and is no dead letter.
fn or_later(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error @ (Error::Unavailable(_) | Error::LimitExceeded(_))) => {
            patchbay_sdk::warn!("messages wait to be indexed: {}", error.reason().detail);
            Ok(())
        }
        done => done,
    }
}

patchbay_sdk::register!(Ai: http, events, jobs, lifecycle);

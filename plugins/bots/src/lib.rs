//! Bots: users that programs act as, webhooks in and out, reminders, welcomes, replies to keywords.
//!
//! Owns: what the API says of these, and what is kept of them. Must not: decide what a bot may do; the host does, as for
//! every user.

mod bots;
mod commands;
mod delivery;
mod hooks;
mod incoming;
mod outgoing;
mod remind;
mod responders;
mod slack;

use patchbay_sdk::{
    Actor, ChannelId, Command, CommandHelp, Commands, DueJob, Entry, Error, Events, Http, Invocation, Jobs,
    Outcome, Reply, Request, Response, Suggestion, answer::Problem, routes::Routes, state,
};

struct Bots;

impl Http for Bots {
    fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
        Routes::new(&request, caller)
            .get("/api/bots", bots::list)
            .post("/api/bots", bots::create)
            .get("/api/bots/{bot_id}", bots::get)
            .patch("/api/bots/{bot_id}", bots::update)
            .delete("/api/bots/{bot_id}", bots::delete)
            .get("/api/bots/{bot_id}/commands", commands::list)
            .post("/api/bots/{bot_id}/commands", commands::create)
            .get("/api/bots/{bot_id}/commands/{name}", commands::get)
            .patch("/api/bots/{bot_id}/commands/{name}", commands::update)
            .delete("/api/bots/{bot_id}/commands/{name}", commands::delete)
            .get("/api/hooks", incoming::list)
            .post("/api/hooks", incoming::create)
            .get("/api/hooks/{hook_id}", incoming::get)
            .delete("/api/hooks/{hook_id}", incoming::delete)
            .post("/api/hooks/{hook_id}/{secret}", incoming::receive)
            .get("/api/hooks/outgoing", outgoing::list)
            .post("/api/hooks/outgoing", outgoing::create)
            .get("/api/hooks/outgoing/{hook_id}", outgoing::get)
            .patch("/api/hooks/outgoing/{hook_id}", outgoing::update)
            .delete("/api/hooks/outgoing/{hook_id}", outgoing::delete)
            .send(response)
    }
}

impl Events for Bots {
    fn handle(entries: Vec<Entry>) -> Result<Vec<Outcome>, Error> {
        delivery::plan(&entries)?;
        responders::answer(&entries)?;
        Ok(entries.iter().map(|_| Outcome::Ok).collect())
    }
}

impl Jobs for Bots {
    fn run(job: DueJob) -> Result<(), Error> {
        match job.id.split_once('/') {
            Some(("out", _)) => delivery::deliver(&job),
            Some(("remind", _)) => remind::remind(&job),
            _ => Err(Error::internal(format!("no job of its own: {:?}", job.id))),
        }
    }
}

impl Commands for Bots {
    fn run(caller: &Actor, invocation: Invocation) -> Result<Reply, Error> {
        let text = match invocation.command.as_str() {
            "remind" => Some(remind::command(caller, &invocation)?),
            _ => commands::run(caller, &invocation)?,
        };
        Ok(Reply { text })
    }
}

impl CommandHelp for Bots {
    fn more(_: &Actor, channel: ChannelId) -> Result<Vec<Command>, Error> {
        commands::offered(channel)
    }

    fn complete(
        caller: &Actor,
        command: &str,
        text: &str,
        channel: ChannelId,
    ) -> Result<Vec<Suggestion>, Error> {
        match command {
            "remind" => remind::complete(caller, text),
            _ => commands::complete(command, text, channel),
        }
    }
}

/// A number that nothing else here has or had.
fn next_id() -> Result<u64, Error> {
    state::update("last_id", |last: Option<u64>| Ok::<_, Error>(last.unwrap_or_default() + 1))
}

/// The actor's id; a route that requires a caller has a user.
fn caller_id(caller: &Actor) -> Result<u64, Problem> {
    caller.user_id().ok_or_else(|| Problem::new(403, "forbidden", "This needs a user."))
}

fn not_found(what: &str) -> Problem {
    Problem::new(404, format!("{what}_not_found"), format!("The {what} was not found."))
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

patchbay_sdk::register!(Bots: http, events, jobs, commands, command_help);

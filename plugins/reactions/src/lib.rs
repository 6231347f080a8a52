//! Reactions: the routes under `/api/messages/{message_id}/reactions`, and the counts in messages.
//!
//! Owns: what an emoji is and what the API says about reactions. Must not: decide who may react or keep
//! state; the host's `reactions` interface does both.

mod decoration;
mod emoji;
mod routes;

use patchbay_sdk::{Actor, Decoration, Decorator, Error, Http, MessageId, Request, Response};

struct Reactions;

impl Http for Reactions {
    fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
        routes::answer(&request, caller).send(response)
    }
}

impl Decorator for Reactions {
    fn decorate(viewer: &Actor, messages: Vec<MessageId>) -> Result<Vec<Decoration>, Error> {
        let counts = patchbay_sdk::reactions::counts(viewer, &messages)?;
        Ok(decoration::per_message(&messages, &counts))
    }
}

patchbay_sdk::register!(Reactions: http, decorator);

//! Search: the routes under `/api/search/`, the query language, highlights.
//!
//! Owns: what people write to look for something, and how it is shown to them. Must not: decide what anybody may see; the
//! host's `search` interface looks with the caller's permissions.

mod dates;
mod highlight;
mod parse;
mod resolve;
mod routes;

use patchbay_sdk::{Actor, Error, Http, Request, Response};

struct Search;

impl Http for Search {
    fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
        routes::answer(&request, caller).send(response)
    }
}

patchbay_sdk::register!(Search: http);

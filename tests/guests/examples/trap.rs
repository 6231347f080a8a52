//! Panics: must end this request and no other.
#![allow(clippy::panic, reason = "that is what it is for")]

use patchbay_sdk::{Actor, Error, Http, Request, Response};

struct Guest;

impl Http for Guest {
    fn handle(_: Request, _: Option<&Actor>, _: &Response) -> Result<(), Error> {
        panic!("as announced")
    }
}

patchbay_sdk::register!(Guest: http);

//! Calls the host without end. `many`: small calls; `big`: calls of 1 MiB; `huge`: one call of 32 MiB. Each
//! must end by a limit.

use patchbay_sdk::{
    Actor, Error, Http, Request, Response, input,
    log::{self, Level},
};

struct Guest;

impl Http for Guest {
    fn handle(request: Request, _: Option<&Actor>, _: &Response) -> Result<(), Error> {
        let size = match input::param(&request, "how") {
            Some("many") => 1,
            Some("big") => 1 << 20,
            Some("huge") => 32 << 20,
            _ => return Err(Error::not_found("many, big or huge")),
        };
        let line = "x".repeat(size);
        loop {
            log::write(Level::Info, &line);
        }
    }
}

patchbay_sdk::register!(Guest: http);

//! Answers without end: must end by the limit of an answer's size, whatever it makes of errors.

use patchbay_sdk::{Actor, Error, Http, Request, Response};

struct Guest;

impl Http for Guest {
    fn handle(_: Request, _: Option<&Actor>, response: &Response) -> Result<(), Error> {
        let chunk = vec![b'x'; 64 << 10];
        response.start(200, &[])?;
        loop {
            let _ = response.write(&chunk);
        }
    }
}

patchbay_sdk::register!(Guest: http);

//! Streams chunks of 16 KiB, each sent at once; chunk N is of the byte N. `stream`: 100 of them; `short`: 2, so that
//! the call is over before its reader looks.

use patchbay_sdk::{Actor, Error, Http, Request, Response};

struct Guest;

impl Http for Guest {
    fn handle(request: Request, _: Option<&Actor>, response: &Response) -> Result<(), Error> {
        response.start(200, &[("content-type".to_owned(), "application/octet-stream".to_owned())])?;
        let chunks = if request.route.ends_with("/short") { 2 } else { 100u8 };
        for chunk in 0..chunks {
            response.write(&vec![chunk; 16 << 10])?;
            response.flush()?;
        }
        Ok(())
    }
}

patchbay_sdk::register!(Guest: http);

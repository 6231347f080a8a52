//! Streams 100 chunks of 16 KiB, each sent at once; chunk N is of the byte N.

use patchbay_sdk::{Actor, Error, Http, Request, Response};

struct Guest;

impl Http for Guest {
    fn handle(_: Request, _: Option<&Actor>, response: &Response) -> Result<(), Error> {
        response.start(200, &[("content-type".to_owned(), "application/octet-stream".to_owned())])?;
        for chunk in 0..100u8 {
            response.write(&vec![chunk; 16 << 10])?;
            response.flush()?;
        }
        Ok(())
    }
}

patchbay_sdk::register!(Guest: http);

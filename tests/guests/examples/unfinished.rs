//! Doesn't end its answer as one should. `silent`: returns without one; `early`: writes before it starts;
//! `twice`: starts a second time and goes on; `half`: sends a part, then computes for ever; `mute`: starts, then
//! computes for ever.

use patchbay_sdk::{Actor, Error, Http, Request, Response, input};

struct Guest;

impl Http for Guest {
    fn handle(request: Request, _: Option<&Actor>, response: &Response) -> Result<(), Error> {
        let how = input::param(&request, "how").unwrap_or_default();
        match how {
            "silent" => return Ok(()),
            "early" => {
                response.write(b"too early")?;
                return Ok(());
            }
            _ => response.start(200, &[("content-type".to_owned(), "text/plain".to_owned())])?,
        }
        response.write(b"a part")?;
        if how == "twice" {
            response.start(204, &[])?;
        }
        if how == "half" {
            response.flush()?;
        }
        #[allow(clippy::empty_loop, reason = "that is what it is for")]
        loop {}
    }
}

patchbay_sdk::register!(Guest: http);

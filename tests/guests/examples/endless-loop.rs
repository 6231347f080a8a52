//! Computes for ever: must end by its CPU budget.

use std::hint::black_box;

use patchbay_sdk::{Actor, Error, Http, Request, Response};

struct Guest;

impl Http for Guest {
    fn handle(_: Request, _: Option<&Actor>, _: &Response) -> Result<(), Error> {
        let mut n = 0u64;
        loop {
            n = black_box(n.wrapping_add(1));
        }
    }
}

patchbay_sdk::register!(Guest: http);

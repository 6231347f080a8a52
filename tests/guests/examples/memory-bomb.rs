//! Takes and touches memory until it gets no more: must end by its memory limit.

use std::hint::black_box;

use patchbay_sdk::{Actor, Error, Http, Request, Response};

struct Guest;

impl Http for Guest {
    fn handle(_: Request, _: Option<&Actor>, _: &Response) -> Result<(), Error> {
        let mut kept = Vec::new();
        loop {
            kept.push(black_box(vec![1u8; 1 << 20]));
        }
    }
}

patchbay_sdk::register!(Guest: http);

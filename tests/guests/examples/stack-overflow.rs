//! Calls itself until the stack ends: must trap, not take the host's stack with it.

use std::hint::black_box;

use patchbay_sdk::{Actor, Error, Http, Request, Response};

struct Guest;

fn deeper(n: u64) -> u64 {
    let kept = black_box([n; 8]);
    if black_box(true) { deeper(n + 1) + kept.iter().sum::<u64>() } else { n }
}

impl Http for Guest {
    fn handle(_: Request, _: Option<&Actor>, _: &Response) -> Result<(), Error> {
        black_box(deeper(0));
        Ok(())
    }
}

patchbay_sdk::register!(Guest: http);

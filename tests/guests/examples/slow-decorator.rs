//! Decorates messages far too slowly: must be left out of the page, and the page must not wait for it.

use std::hint::black_box;

use patchbay_sdk::{Actor, Decoration, Decorator, Error, MessageId};

struct Guest;

impl Decorator for Guest {
    fn decorate(_: &Actor, _: Vec<MessageId>) -> Result<Vec<Decoration>, Error> {
        let mut n = 0u64;
        loop {
            n = black_box(n.wrapping_add(1));
        }
    }
}

patchbay_sdk::register!(Guest: decorator);

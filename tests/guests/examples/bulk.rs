//! Spends its time inside of single instructions, which nothing interrupts: `fill` works on 48 MiB at once, `copy` on
//! two times 24, again and again, with a line in the log for each. Must end by its CPU budget all the same.

use std::hint::black_box;

use patchbay_sdk::{
    Actor, Error, Http, Request, Response, input,
    log::{self, Level},
};

const SIZE: usize = 48 << 20;

struct Guest;

impl Http for Guest {
    fn handle(request: Request, _: Option<&Actor>, _: &Response) -> Result<(), Error> {
        match input::param(&request, "how") {
            Some("fill") => {
                let mut all = vec![0u8; SIZE];
                loop {
                    black_box(&mut all).fill(black_box(7));
                    log::write(Level::Info, "filled");
                }
            }
            Some("copy") => {
                let (from, mut to) = (vec![1u8; SIZE / 2], vec![0u8; SIZE / 2]);
                loop {
                    black_box(&mut to).copy_from_slice(black_box(&from));
                    log::write(Level::Info, "copied");
                }
            }
            _ => Err(Error::not_found("fill or copy")),
        }
    }
}

patchbay_sdk::register!(Guest: http);

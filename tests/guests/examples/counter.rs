//! Counts its calls in its own memory, and remembers who called last, which a fresh instance can't: `GET
//! /api/plugins/counter/count`. `trap` counts and traps, `keep` keeps a right to act, `grow` takes 8 MiB, `refuse` ends in an
//! error of the contract.

use std::cell::RefCell;

use patchbay_sdk::{Actor, Error, Http, Request, Response, answer::Answer, identity, input, json};

struct Guest;

patchbay_sdk::register!(Guest: http);

#[derive(Default)]
struct Memory {
    count: u32,
    last: Option<u64>,
    kept: Vec<Actor>,
    taken: Vec<Vec<u8>>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

impl Http for Guest {
    fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
        let what = input::param(&request, "what").unwrap_or_default();
        let caller = caller.and_then(Actor::user_id);
        let (count, last) = MEMORY.with_borrow_mut(|memory| {
            memory.count += 1;
            (memory.count, std::mem::replace(&mut memory.last, caller))
        });
        match what {
            "trap" => std::process::abort(),
            "keep" => {
                let bot = identity::bot()?;
                MEMORY.with_borrow_mut(|memory| memory.kept.push(bot));
            }
            "grow" => MEMORY.with_borrow_mut(|memory| memory.taken.push(vec![1; 8 << 20])),
            "refuse" => return Err(Error::conflict("it was told to refuse")),
            _ => {}
        }
        Answer::json(200, &json!({ "count": count, "last": last })).send(response)
    }
}

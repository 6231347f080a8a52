//! Tells who calls: `{user_id, is_bot, is_superuser}`, or `null` for nobody.

use patchbay_sdk::{Actor, Error, Http, Request, Response, answer::Answer, json};

struct Guest;

impl Http for Guest {
    fn handle(_: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
        let caller = caller.map(|actor| {
            json!({
                "user_id": actor.user_id(),
                "is_bot": actor.is_bot(),
                "is_superuser": actor.is_superuser(),
            })
        });
        Answer::json(200, &json!(caller)).send(response)
    }
}

patchbay_sdk::register!(Guest: http);

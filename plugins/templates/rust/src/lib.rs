//! Greets people and counts how often.

use patchbay_sdk::{
    Actor, Commands, Error, Http, Invocation, Reply, Request, Response, UserId,
    answer::{Answer, Problem},
    json, register,
    routes::{Call, Routes},
    state, users,
};

struct Plugin;

// The exports that the component has; each is a trait that it implements.
register!(Plugin: http, commands);

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Greetings {
    count: u64,
}

fn key(user: UserId) -> String {
    format!("greetings/{user}")
}

impl Http for Plugin {
    fn handle(request: Request, caller: Option<&Actor>, response: &Response) -> Result<(), Error> {
        Routes::new(&request, caller)
            .get("/api/plugins/{{name}}/greetings/{user_id}", show)
            .send(response)
    }
}

/// `GET /api/plugins/{{name}}/greetings/{user_id}`
fn show(call: &Call) -> Result<Answer, Problem> {
    let user = users::get(call.caller()?, call.id("user_id")?)?;
    let greetings: Greetings = state::get(&key(user.id))?.unwrap_or_default();
    Ok(Answer::json(200, &json!({ "user": user.username, "count": greetings.count })))
}

impl Commands for Plugin {
    /// `/{{name}}`
    fn run(caller: &Actor, _: Invocation) -> Result<Reply, Error> {
        let id = caller.user_id().ok_or_else(|| Error::forbidden("only people are greeted"))?;
        let user = users::get(caller, id)?;
        // Two calls at once both count.
        let greetings = state::update(&key(id), |greetings: Option<Greetings>| {
            let count = greetings.unwrap_or_default().count + 1;
            Ok::<_, Error>(Greetings { count })
        })?;
        Ok(Reply { text: Some(format!("Hello {}, greeting number {}.", user.username, greetings.count)) })
    }
}

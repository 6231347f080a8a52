//! The routes.
//!
//! Owns: the API of reactions. Must not: talk to the host other than through the SDK's `reactions`.

use patchbay_sdk::{
    Actor, Request,
    answer::{Answer, Problem},
    input, json,
    reactions::{self, Reaction},
    text,
};

use crate::emoji;

/// The answer to any request that the manifest routes here.
pub fn answer(request: &Request, caller: Option<&Actor>) -> Answer {
    let Some(caller) = caller else {
        return Problem::new(401, "unauthenticated", "Reactions need a caller.").into();
    };
    let answer = match request.method.as_str() {
        "GET" => list(request, caller),
        "POST" => add(request, caller),
        "DELETE" => remove(request, caller),
        _ => Err(Problem::new(405, "method_not_allowed", "This route has no such method.")),
    };
    answer.unwrap_or_else(Answer::from)
}

fn list(request: &Request, caller: &Actor) -> Result<Answer, Problem> {
    let message = input::id_param(request, "message_id")?;
    let page = input::page(request)?;
    // One more than asked for, where the host gives as many, tells whether there is more.
    let wanted = page.limit as usize;
    let mut found = reactions::list(caller, message, page.after, (page.limit + 1).min(200))?;
    if wanted == 200
        && let Some(last) = found.last().filter(|_| found.len() == wanted)
    {
        let next = reactions::list(caller, message, Some(last.id), 1)?;
        found.extend(next);
    }
    let has_more = found.len() > wanted;
    let items: Vec<_> = found.iter().take(wanted).map(to_json).collect();
    Ok(Answer::json(200, &json!({ "items": items, "has_more": has_more })))
}

fn add(request: &Request, caller: &Actor) -> Result<Answer, Problem> {
    let message = input::id_param(request, "message_id")?;
    let body = input::object(request, &["emoji"])?;
    let emoji = normalised(input::string(&body, "emoji")?)?;
    let added = reactions::add(caller, message, emoji)?;
    Ok(Answer::json(if added.created { 201 } else { 200 }, &to_json(&added.reaction)))
}

fn remove(request: &Request, caller: &Actor) -> Result<Answer, Problem> {
    let message = input::id_param(request, "message_id")?;
    let emoji = input::param(request, "emoji").or_else(|| input::query(request, "emoji"));
    let emoji = emoji.ok_or_else(|| Problem::field("emoji", "missing", "is needed"))?;
    let emoji = normalised(emoji)?;
    reactions::remove(caller, message, emoji)?;
    Ok(Answer::no_content())
}

fn normalised(text: &str) -> Result<&'static str, Problem> {
    emoji::normalise(text).ok_or_else(|| Problem::field("emoji", "format", "must be exactly one emoji"))
}

fn to_json(reaction: &Reaction) -> patchbay_sdk::Value {
    json!({
        "id": reaction.id,
        "emoji": reaction.emoji,
        "user_id": reaction.user,
        "message_id": reaction.message,
        "created_at": text::rfc3339(reaction.created_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reaction_as_the_api_shows_it() {
        let reaction =
            Reaction { id: 1, emoji: "👍".to_owned(), user: 2, message: 3, created_at: 1_700_000_000_123 };
        assert_eq!(
            to_json(&reaction),
            json!({
                "id": 1, "emoji": "👍", "user_id": 2, "message_id": 3,
                "created_at": "2023-11-14T22:13:20.123Z",
            })
        );
    }
}

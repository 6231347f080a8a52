//! `/api/bots`: users that programs act as.

use patchbay_sdk::{
    Actor, Error,
    answer::{Answer, Problem},
    bots::{self, Bot},
    json,
    routes::Call,
    text::rfc3339,
};
use serde::Deserialize;
use serde_json::Value;

use crate::commands;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBot {
    name: String,
    full_name: Option<String>,
    #[serde(default = "all_scopes")]
    scopes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    full_name: Option<String>,
    is_active: Option<bool>,
    scopes: Option<Vec<String>>,
    #[serde(default)]
    new_token: bool,
}

fn all_scopes() -> Vec<String> {
    ["read", "write"].map(str::to_owned).to_vec()
}

fn shown(bot: &Bot) -> Value {
    json!({
        "id": bot.id, "name": bot.username, "username": bot.username, "full_name": bot.full_name,
        "owner_id": bot.owner, "is_bot": true, "is_active": bot.is_active, "scopes": bot.scopes,
        "created_at": rfc3339(bot.created_at),
    })
}

fn with_token(bot: &Bot, token: String) -> Value {
    let mut shown = shown(bot);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("token".to_owned(), token.into());
    }
    shown
}

pub fn list(call: &Call) -> Result<Answer, Problem> {
    let page = call.page()?;
    // One more than is shown tells whether there are more.
    let most = page.limit.min(199);
    let mut found = bots::list(call.caller()?, page.after, most + 1)?;
    let has_more = found.len() > most as usize;
    found.truncate(most as usize);
    let items: Vec<_> = found.iter().map(shown).collect();
    Ok(Answer::json(200, &json!({ "items": items, "has_more": has_more })))
}

pub fn create(call: &Call) -> Result<Answer, Problem> {
    let (caller, new) = (call.caller()?, call.json::<NewBot>()?);
    let made = bots::create(caller, &new.name, new.full_name.as_deref())?;
    let token = match bots::issue_token(caller, made.id, &new.scopes) {
        Ok(token) => token,
        Err(error) => {
            // Nobody has seen it.
            bots::delete(caller, made.id)?;
            return Err(error.into());
        }
    };
    Ok(Answer::json(201, &with_token(&bots::get(caller, made.id)?, token)))
}

pub fn get(call: &Call) -> Result<Answer, Problem> {
    Ok(Answer::json(200, &shown(&bots::get(call.caller()?, call.id("bot_id")?)?)))
}

/// A token has scopes, so other scopes are another token.
pub fn update(call: &Call) -> Result<Answer, Problem> {
    let (caller, id, changes) = (call.caller()?, call.id("bot_id")?, call.json::<Changes>()?);
    let mut bot = bots::get(caller, id)?;
    if changes.full_name.is_some() || changes.is_active.is_some() {
        bot = bots::update(caller, id, changes.full_name.as_deref(), changes.is_active)?;
    }
    if changes.scopes.is_none() && !changes.new_token {
        return Ok(Answer::json(200, &shown(&bot)));
    }
    let kept = if bot.scopes.is_empty() { all_scopes() } else { bot.scopes };
    let token = bots::issue_token(caller, id, &changes.scopes.unwrap_or(kept))?;
    Ok(Answer::json(200, &with_token(&bots::get(caller, id)?, token)))
}

pub fn delete(call: &Call) -> Result<Answer, Problem> {
    let id = call.id("bot_id")?;
    bots::delete(call.caller()?, id)?;
    commands::forget(id)?;
    Ok(Answer::no_content())
}

/// A bot for a webhook, by the name of the webhook if it is free, and in the channel.
pub fn make(caller: &Actor, name: &str, id: u64, channel: u64) -> Result<Bot, Error> {
    let slug = slug(name);
    let made = match bots::create(caller, &slug, Some(name)) {
        Err(Error::Conflict(reason)) if reason.code == "username_taken" => {
            let short: String = slug.chars().take(20).collect();
            bots::create(caller, &format!("{short}-{id}"), Some(name))?
        }
        made => made?,
    };
    if let Err(error) = bots::join(caller, made.id, channel) {
        bots::delete(caller, made.id)?;
        return Err(error);
    }
    Ok(made)
}

/// A name that a user can have.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for character in name.chars().map(|c| c.to_ascii_lowercase()) {
        if character.is_ascii_alphanumeric() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug: String = slug.trim_matches('-').chars().take(24).collect();
    if slug.len() < 3 { format!("{slug}-hook").trim_matches('-').to_owned() } else { slug }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_user_names() {
        for (name, expected) in [
            ("Grafana", "grafana"),
            ("Build #1 (nightly)", "build-1-nightly"),
            ("CI", "ci-hook"),
            ("監視", "hook"),
            ("a very long name of something that reports", "a-very-long-name-of-some"),
        ] {
            assert_eq!(slug(name), expected);
        }
    }
}

//! `/remind`: what somebody wants to be told later, in the channel where they said so.

use jiff::{Timestamp as Instant, ToSpan as _, civil, tz::TimeZone};
use patchbay_sdk::{
    Actor, ChannelId, DueJob, Error, Invocation, Suggestion, Timestamp, UserId, bots, channels, deployment,
    identity, kv, messages, scheduler, state, users,
};
use serde::{Deserialize, Serialize};

use crate::next_id;

/// Most reminders of one person that wait.
const MAX_WAITING: u32 = 100;
const MAX_TEXT: usize = 1_000;
/// How far ahead one can be, in days.
const MAX_DAYS: i64 = 5 * 366;
const DAY_MS: i64 = 86_400_000;
const USAGE: &str = "write `in 10m TEXT`, `at 17:00 TEXT`, `at 17:00 Europe/Berlin TEXT`, `on 2027-01-31 09:00 TEXT`, \
                     `list` or `cancel NUMBER`";

/// One that waits.
#[derive(Serialize, Deserialize)]
struct Reminder {
    id: u64,
    user: UserId,
    channel: ChannelId,
    text: String,
    due: Timestamp,
}

fn prefix(user: UserId) -> String {
    format!("remind/{user:020}/")
}

fn key(user: UserId, id: u64) -> String {
    format!("{}{id:020}", prefix(user))
}

/// Does what was typed after `/remind`; what the person is told.
pub fn command(caller: &Actor, invocation: &Invocation) -> Result<String, Error> {
    let user = caller.user_id().ok_or_else(|| Error::forbidden("this needs a user"))?;
    let (verb, rest) = invocation.text.split_once(char::is_whitespace).unwrap_or((&invocation.text, ""));
    match verb {
        "list" => list(user),
        "cancel" => cancel(user, rest.trim()),
        _ => set(caller, user, invocation),
    }
}

/// What could follow after `/remind`.
pub fn complete(caller: &Actor, text: &str) -> Result<Vec<Suggestion>, Error> {
    let suggestion = |text: String, description: String| Suggestion { text, description };
    if text.starts_with("cancel") {
        let user = caller.user_id().ok_or_else(|| Error::forbidden("this needs a user"))?;
        let mut waiting: Vec<(String, Reminder)> = state::list(&prefix(user), MAX_WAITING)?;
        waiting.sort_by_key(|(_, reminder)| reminder.due);
        let found = waiting.into_iter().map(|(_, of)| {
            let what: String = of.text.chars().filter(|c| !c.is_control()).take(100).collect();
            suggestion(format!("cancel {}", of.id), format!("{}: {what}", shown(of.due)))
        });
        return Ok(found.filter(|of| of.text.starts_with(text)).take(20).collect());
    }
    let forms = [
        ("in 10m ", "After so many minutes (m), hours (h) or days (d)"),
        ("at 17:00 ", "The next time it is that late; a time zone can follow"),
        ("on 2027-01-31 09:00 ", "On that day"),
        ("list", "What waits"),
        ("cancel ", "Takes one back"),
    ];
    let found = forms.into_iter().filter(|(form, _)| form.starts_with(text));
    Ok(found.map(|(form, what)| suggestion(form.to_owned(), what.to_owned())).collect())
}

fn set(caller: &Actor, user: UserId, invocation: &Invocation) -> Result<String, Error> {
    let now = deployment::now();
    let (due, text) = parse(&invocation.text, now).map_err(Error::invalid)?;
    if text.is_empty() || text.chars().count() > MAX_TEXT {
        return Err(Error::invalid(format!("say of what, in up to {MAX_TEXT} characters; {USAGE}")));
    }
    let waiting: Vec<(String, Reminder)> = state::list(&prefix(user), MAX_WAITING)?;
    if waiting.len() >= MAX_WAITING as usize {
        return Err(Error::conflict(format!("there are {MAX_WAITING} reminders of yours already")));
    }
    let bot = identity::bot()?;
    let own = bot.user_id().ok_or_else(|| Error::internal("the bot is no user"))?;
    if !is_member(&bot, invocation.channel, own)? {
        bots::join(caller, own, invocation.channel).map_err(|_| {
            Error::conflict(
                "the bot @bots has to be a member of this channel; somebody who may has to add it",
            )
        })?;
    }
    let reminder = Reminder { id: next_id()?, user, channel: invocation.channel, text: text.to_owned(), due };
    state::set(&key(user, reminder.id), &reminder)?;
    let id = format!("remind/{user}/{}", reminder.id);
    scheduler::schedule(&scheduler::Scheduled { id, payload: String::new(), due })?;
    Ok(format!("You are reminded {} (number {}).", shown(due), reminder.id))
}

fn list(user: UserId) -> Result<String, Error> {
    let mut waiting: Vec<(String, Reminder)> = state::list(&prefix(user), MAX_WAITING)?;
    waiting.sort_by_key(|(_, reminder)| reminder.due);
    if waiting.is_empty() {
        return Ok(format!("No reminder waits. To set one up, {USAGE}."));
    }
    let lines = waiting.iter().map(|(_, of)| format!("{}. {}: {}", of.id, shown(of.due), of.text));
    let text: String = lines.collect::<Vec<_>>().join("\n");
    Ok(text.chars().take(7_000).collect())
}

fn cancel(user: UserId, number: &str) -> Result<String, Error> {
    let id = number.parse().map_err(|_| Error::invalid("write `cancel NUMBER`; `list` shows the numbers"))?;
    if !kv::delete(&key(user, id))? {
        return Err(Error::not_found(format!("no reminder of yours has the number {id}")));
    }
    scheduler::cancel(&format!("remind/{user}/{id}"))?;
    Ok("It is taken back.".to_owned())
}

/// Tells what was to be told.
pub fn remind(job: &DueJob) -> Result<(), Error> {
    let mut parts = job.id.split('/').skip(1).map(str::parse);
    let (Some(Ok(user)), Some(Ok(id))) = (parts.next(), parts.next()) else {
        return Err(Error::internal(format!("no reminder: {:?}", job.id)));
    };
    let key = key(user, id);
    let Some(reminder) = state::get::<Reminder>(&key)? else { return Ok(()) };
    let bot = identity::bot()?;
    let posted = match is_member(&bot, reminder.channel, user) {
        // Who has left is not called back.
        Ok(false) => Ok(()),
        Ok(true) => {
            let name = users::get(&bot, user)?.username;
            let text = format!("@{name} Reminder: {}", reminder.text);
            messages::post(&bot, reminder.channel, &text, None, &[]).map(drop)
        }
        Err(error) => Err(error),
    };
    match posted {
        Err(Error::NotFound(_) | Error::Forbidden(_)) => {
            patchbay_sdk::warn!(
                "a reminder for user {user} could not be posted in channel {}",
                reminder.channel
            );
        }
        posted => posted?,
    }
    kv::delete(&key).map(drop)
}

/// Whether somebody is a member of a channel that the bot sees.
pub fn is_member(bot: &Actor, channel: ChannelId, user: UserId) -> Result<bool, Error> {
    match channels::members(bot, channel, user.checked_sub(1), 1) {
        Ok(members) => Ok(members.first() == Some(&user)),
        Err(Error::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn shown(due: Timestamp) -> String {
    let at = i64::try_from(due).ok().and_then(|due| Instant::from_millisecond(due).ok());
    at.map_or_else(String::new, |at| format!("at {}", at.strftime("%Y-%m-%d %H:%M UTC")))
}

/// When, and of what.
fn parse(text: &str, now: Timestamp) -> Result<(Timestamp, &str), String> {
    let now = i64::try_from(now).map_err(|error| error.to_string())?;
    let (verb, rest) = word(text);
    let (due, text) = match verb {
        "in" => after(rest, now)?,
        "at" => at(rest, now)?,
        "on" => on(rest)?,
        _ => return Err(format!("it is not said when; {USAGE}")),
    };
    if due <= now {
        return Err("that time has passed".to_owned());
    }
    if due - now > MAX_DAYS * DAY_MS {
        return Err("that is too far ahead".to_owned());
    }
    Ok((u64::try_from(due).map_err(|error| error.to_string())?, text))
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}

/// `10m TEXT`, `2 hours TEXT`, `1h30m TEXT`.
fn after(text: &str, now: i64) -> Result<(i64, &str), String> {
    let (first, rest) = word(text);
    let is_number = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
    let (span, rest) = if is_number {
        let (unit, rest) = word(rest);
        (format!("{first}{unit}"), rest)
    } else {
        (first.to_owned(), rest)
    };
    let wrong = || format!("{span:?} is no span of time; write e.g. 10m, 2h, 1h30m, 3 days");
    let mut total: i64 = 0;
    let mut left = span.as_str();
    while !left.is_empty() {
        let digits = left.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(wrong)?;
        let (number, after) = left.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let ms = match unit.to_ascii_lowercase().as_str() {
            "s" | "sec" | "second" | "seconds" => 1_000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
            "h" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => DAY_MS,
            "w" | "week" | "weeks" => 7 * DAY_MS,
            _ => return Err(wrong()),
        };
        let number: i64 = number.parse().map_err(|_| wrong())?;
        total = number.checked_mul(ms).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
        left = after;
    }
    if span.is_empty() {
        return Err(wrong());
    }
    Ok((now.checked_add(total).ok_or_else(wrong)?, rest))
}

fn time(text: &str) -> Option<civil::Time> {
    let (hours, minutes) = text.split_once(':')?;
    let is_number =
        |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(hours) || minutes.len() != 2 || !is_number(minutes) {
        return None;
    }
    civil::Time::new(hours.parse().ok()?, minutes.parse().ok()?, 0, 0).ok()
}

/// The zone, if the next word is the name of one; UTC otherwise.
fn zone(text: &str) -> (TimeZone, &str) {
    let (name, rest) = word(text);
    match TimeZone::get(name) {
        Ok(zone) if name.contains('/') || name == "UTC" => (zone, rest),
        _ => (TimeZone::UTC, text),
    }
}

/// `17:00 [ZONE] TEXT`: the next time that it is so late there.
fn at(text: &str, now: i64) -> Result<(i64, &str), String> {
    let (clock, rest) = word(text);
    let clock = time(clock).ok_or_else(|| format!("{clock:?} is no time of day; write HH:MM"))?;
    let (zone, rest) = zone(rest);
    let failed = |error: jiff::Error| error.to_string();
    let mut day = Instant::from_millisecond(now).map_err(failed)?.to_zoned(zone.clone()).date();
    loop {
        let due = day.to_datetime(clock).to_zoned(zone.clone()).map_err(failed)?.timestamp().as_millisecond();
        if due > now {
            return Ok((due, rest));
        }
        day = day.checked_add(1.day()).map_err(failed)?;
    }
}

/// `2027-01-31 [09:00] [ZONE] TEXT`; nine o'clock if nothing is said.
fn on(text: &str) -> Result<(i64, &str), String> {
    let (day, rest) = word(text);
    let date: civil::Date = day.parse().map_err(|_| format!("{day:?} is no date; write YYYY-MM-DD"))?;
    let (clock, after) = word(rest);
    let (clock, rest) = match time(clock) {
        Some(clock) => (clock, after),
        None => (civil::Time::constant(9, 0, 0, 0), rest),
    };
    let (zone, rest) = zone(rest);
    let due = date.to_datetime(clock).to_zoned(zone).map_err(|error| error.to_string())?;
    Ok((due.timestamp().as_millisecond(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, String)> {
        // 2026-01-31T12:00:00Z
        let (due, text) = parse(text, 1_769_860_800_000).ok()?;
        Some((shown(due), text.to_owned()))
    }

    #[test]
    fn times_are_read() {
        for (text, due, what) in [
            ("in 10m tea", "at 2026-01-31 12:10 UTC", "tea"),
            ("in 2 hours  stand up", "at 2026-01-31 14:00 UTC", "stand up"),
            ("in 1h30m x", "at 2026-01-31 13:30 UTC", "x"),
            ("in 3 days", "at 2026-02-03 12:00 UTC", ""),
            ("at 17:00 go home", "at 2026-01-31 17:00 UTC", "go home"),
            ("at 9:30 Europe/Berlin coffee", "at 2026-02-01 08:30 UTC", "coffee"),
            ("at 13:00 UTC", "at 2026-01-31 13:00 UTC", ""),
            ("on 2026-02-28 pay", "at 2026-02-28 09:00 UTC", "pay"),
            (
                "on 2026-07-01 10:00 America/New_York call 5 people",
                "at 2026-07-01 14:00 UTC",
                "call 5 people",
            ),
        ] {
            assert_eq!(parsed(text), Some((due.to_owned(), what.to_owned())), "{text}");
        }
        for text in [
            "",
            "tomorrow",
            "in",
            "in x",
            "in 10 tea",
            "in 10q",
            "in 99999999999999999999m x",
            "at 25:00 x",
            "at noon",
            "on 2026-02-30 x",
            "on 2020-01-01 x",
            "in 20000 days x",
            "in 0m x",
            "at 1:2 x",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}

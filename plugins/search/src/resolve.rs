//! From what was written to what the host is asked: names become ids, dates become moments.
//!
//! Owns: the meaning of operators. Must not: read a query's text; that is `parse`'s.

use jiff::tz::TimeZone;
use patchbay_sdk::{
    Actor, Error, Timestamp,
    answer::{FieldError, Place, Problem},
    channels,
    search::{self, Filter, Term, Traits},
    users,
};
use patchbay_words::{Sought, sought};

use crate::{
    dates::{self, Span},
    parse::{Fault, Item, Operator, What},
};

/// Most terms, and most words of them together, as in `search.wit`.
const MAX_TERMS: usize = 32;
const MAX_WORDS: usize = 64;
const MAX_TERM_BYTES: usize = 512;
/// Most channels and most senders, as in `search.wit`.
const MAX_IDS: usize = 50;

/// Which operators there are besides those for people, places and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// All.
    Messages,
    /// Files have no `has:` and no `is:`.
    Files,
}

/// What is asked of the host.
#[derive(Debug)]
pub struct Asked {
    pub terms: Vec<Term>,
    pub wanted: Filter,
    pub unwanted: Filter,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// What is to be marked.
    pub marked: Vec<Sought>,
}

/// Why there is nothing to ask.
#[derive(Debug)]
pub enum Trouble {
    /// The query.
    Faults(Vec<Fault>),
    /// The host.
    Host(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

impl From<Vec<Fault>> for Trouble {
    fn from(faults: Vec<Fault>) -> Self {
        Self::Faults(faults)
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        let faults = match trouble {
            Trouble::Host(error) => return error.into(),
            Trouble::Faults(faults) => faults,
        };
        let detail = faults.first().map(|fault| {
            let Fault { place, message, .. } = fault;
            format!("q {message}, at character {}", place.offset + 1)
        });
        let mut problem = Self::new(422, "validation_failed", detail.unwrap_or_default());
        problem.errors = faults
            .into_iter()
            .map(|fault| FieldError {
                field: "q".to_owned(),
                code: fault.code,
                message: fault.message,
                place: Some(fault.place),
            })
            .collect();
        problem
    }
}

fn no_filter() -> Filter {
    Filter { channels: Vec::new(), senders: Vec::new(), has: Traits::empty() }
}

/// Finds out what the items of a query mean to this caller.
///
/// # Errors
/// Every fault of the query, or what the host says.
pub fn resolve(items: &[Item], among: Among, zone: &TimeZone, caller: &Actor) -> Result<Asked, Trouble> {
    let asked = Asked {
        terms: Vec::new(),
        wanted: no_filter(),
        unwanted: no_filter(),
        since: None,
        until: None,
        marked: Vec::new(),
    };
    let mut resolver = Resolver { asked, words: 0, faults: Vec::new(), among, zone, caller };
    for item in items {
        match &item.what {
            What::Words { text, is_prefix } => resolver.term(item, text, *is_prefix),
            What::Operator { operator, value, value_place } => {
                resolver.operator(item, *operator, value, *value_place)?;
            }
        }
    }
    if resolver.faults.is_empty() { Ok(resolver.asked) } else { Err(Trouble::Faults(resolver.faults)) }
}

struct Resolver<'a> {
    asked: Asked,
    words: usize,
    faults: Vec<Fault>,
    among: Among,
    zone: &'a TimeZone,
    caller: &'a Actor,
}

impl Resolver<'_> {
    fn fault(&mut self, place: Place, code: &'static str, message: impl Into<String>) {
        self.faults.push(Fault::new(place, code, message));
    }

    fn term(&mut self, item: &Item, text: &str, is_prefix: bool) {
        let Some(words) = sought(text, is_prefix) else { return };
        self.words += words.words.len();
        if self.asked.terms.len() >= MAX_TERMS || self.words > MAX_WORDS || text.len() > MAX_TERM_BYTES {
            let message = format!(
                "may have {MAX_TERMS} terms of {MAX_TERM_BYTES} bytes with {MAX_WORDS} words together"
            );
            return self.fault(item.place, "too_much", message);
        }
        if !item.is_negated {
            self.asked.marked.push(words);
        }
        self.asked.terms.push(Term { text: text.to_owned(), prefix: is_prefix, negated: item.is_negated });
    }

    fn operator(&mut self, item: &Item, operator: Operator, value: &str, at: Place) -> Result<(), Error> {
        match operator {
            Operator::From => self.sender(item, value, at),
            Operator::In => self.channel(item, value, at),
            Operator::Has | Operator::Is => {
                self.trait_of(item, operator, value, at);
                Ok(())
            }
            Operator::Before | Operator::After | Operator::On => {
                self.time(item, operator, value, at);
                Ok(())
            }
        }
    }

    fn filter(&mut self, item: &Item) -> &mut Filter {
        if item.is_negated { &mut self.asked.unwanted } else { &mut self.asked.wanted }
    }

    fn sender(&mut self, item: &Item, value: &str, at: Place) -> Result<(), Error> {
        let id = match value.strip_prefix('@').unwrap_or(value) {
            "me" => self.caller.user_id(),
            name => self.user(name)?,
        };
        match id {
            None => self.fault(at, "user_not_found", "names a user that there is not"),
            Some(_) if self.filter(item).senders.len() >= MAX_IDS => {
                self.fault(at, "too_much", format!("may have at most {MAX_IDS} users"));
            }
            Some(id) => self.filter(item).senders.push(id),
        }
        Ok(())
    }

    /// By name, or by id if nobody has it as a name.
    fn user(&self, name: &str) -> Result<Option<u64>, Error> {
        let found = match users::find(self.caller, name) {
            Err(Error::NotFound(_)) => match id(name) {
                Some(id) => users::get(self.caller, id),
                None => return Ok(None),
            },
            found => found,
        };
        match found {
            Ok(user) => Ok(Some(user.id)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn channel(&mut self, item: &Item, value: &str, at: Place) -> Result<(), Error> {
        let name = value.strip_prefix('#').unwrap_or(value);
        let found = self.channels(name)?;
        if found.is_empty() {
            self.fault(at, "channel_not_found", "names a channel that there is not, or not for you");
        } else if self.filter(item).channels.len() + found.len() > MAX_IDS {
            self.fault(at, "too_much", format!("may name at most {MAX_IDS} channels"));
        } else {
            self.filter(item).channels.extend(found);
        }
        Ok(())
    }

    /// By name, which several can have, or by id.
    fn channels(&self, name: &str) -> Result<Vec<u64>, Error> {
        if name.is_empty() || name.len() > MAX_TERM_BYTES {
            return Ok(Vec::new());
        }
        let found = search::channels_named(self.caller, name)?;
        let Some(id) = id(name).filter(|_| found.is_empty()) else { return Ok(found) };
        match channels::get(self.caller, id) {
            Ok(channel) => Ok(vec![channel.id]),
            Err(Error::NotFound(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn trait_of(&mut self, item: &Item, operator: Operator, value: &str, at: Place) {
        if self.among == Among::Files {
            return self.fault(item.place, "unknown_operator", "asks for what files don't have");
        }
        let has = match (operator, value.to_ascii_lowercase().as_str()) {
            (Operator::Has, "file") => Traits::FILE,
            (Operator::Has, "link") => Traits::LINK,
            (Operator::Has, "reaction") => Traits::REACTION,
            (Operator::Is, "thread") => Traits::THREAD,
            (Operator::Is, _) => return self.fault(at, "unknown_value", "must be thread behind is:"),
            _ => return self.fault(at, "unknown_value", "must be file, link or reaction behind has:"),
        };
        let opposite = if item.is_negated { self.asked.wanted.has } else { self.asked.unwanted.has };
        if (opposite & has) != Traits::empty() {
            return self.fault(item.place, "contradiction", "is asked for and excluded");
        }
        let filter = self.filter(item);
        filter.has = filter.has | has;
    }

    fn time(&mut self, item: &Item, operator: Operator, value: &str, at: Place) {
        if item.is_negated {
            return self.fault(item.place, "not_negatable", "can't be negated; use before: and after:");
        }
        let Some(Span { start, end }) = dates::span(value, self.zone) else {
            return self.fault(
                at,
                "date",
                "must be a day like 2026-01-31 or a moment like 2026-01-31T12:00:00Z",
            );
        };
        if operator != Operator::Before {
            let since = if operator == Operator::On { start } else { end };
            self.asked.since = Some(self.asked.since.map_or(since, |other| other.max(since)));
        }
        if operator != Operator::After {
            let until = if operator == Operator::On { end } else { start };
            self.asked.until = Some(self.asked.until.map_or(until, |other| other.min(until)));
        }
    }
}

/// A positive number that an id can be.
pub fn id(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| is_number && (1..=i64::MAX as u64).contains(id))
}

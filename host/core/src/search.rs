//! What is looked for, and what was found.

use crate::{ChannelId, Timestamp, UserId};

/// Most terms of a query.
pub const MAX_TERMS: usize = 32;
/// Most bytes of a term.
pub const MAX_TERM_BYTES: usize = 512;
/// Most words of a query's terms together.
pub const MAX_SOUGHT_WORDS: usize = 64;
/// Most channels, and most senders, of a filter.
pub const MAX_FILTER_IDS: usize = 50;

/// Words to look for; several have to follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchTerm {
    /// As somebody wrote them.
    pub text: String,
    /// The last word may go on.
    pub is_prefix: bool,
    /// They must not be there.
    pub is_negated: bool,
}

/// What is asked for beside words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchFilter {
    /// In one of these, or anywhere.
    pub channels: Vec<ChannelId>,
    /// By one of these, or by anybody.
    pub senders: Vec<UserId>,
    /// With files.
    pub has_file: bool,
    /// With a link.
    pub has_link: bool,
    /// With reactions.
    pub has_reaction: bool,
    /// A reply, or a message with replies.
    pub in_thread: bool,
}

/// In which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchOrder {
    /// What fits best first.
    Relevance,
    /// The newest first.
    Newest,
}

/// What is looked for among messages or files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchQuery {
    /// All hold.
    pub terms: Vec<SearchTerm>,
    /// What must hold.
    pub wanted: SearchFilter,
    /// What must not: none of it.
    pub unwanted: SearchFilter,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// In which order; without a term the newest come first.
    pub order: SearchOrder,
    /// How many at most.
    pub limit: i64,
    /// The `next` of the page before.
    pub cursor: Option<String>,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit<T> {
    /// What.
    pub item: T,
    /// How well it fits; more is better.
    pub score: f64,
    /// What is written in a file, around the first place where something was found.
    pub passage: Option<String>,
}

/// A page of what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchPage<T> {
    /// What was found.
    pub hits: Vec<Hit<T>>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

//! Looking for messages, files and channels.
//!
//! Permissions are conditions of the queries themselves, so that what may not be seen is neither found nor counted; what was
//! found is read with the same conditions again, since a membership may have ended while the query ran. A query whose asker
//! has gone runs to its end, which is bounded, so that it keeps its turn and its limit as long as it works.

mod channels;
mod index;
mod texts;

pub use index::IndexState;
pub use texts::PdfReader;

use std::{collections::HashMap, time::Duration};

use patchbay_core::{
    Actor, File, Hit, Message, SearchFilter, SearchOrder, SearchPage, SearchQuery, UserId,
    search::{MAX_FILTER_IDS, MAX_SOUGHT_WORDS, MAX_TERMS},
};
use patchbay_store::{Conn, Found, Index, Mark, Need, Order, Search};
use patchbay_words::{Sought, found_in, sought};
use tokio::sync::Semaphore;

use super::{Error, MAX_PAGE, Ops, Result, error::Faults, sessions::detached};

/// How long one query may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Queries that run at the same time: half of the database's readers, so that searching leaves the rest to others.
const AT_ONCE: usize = 4;
/// How long a query waits for its turn.
const TURN: Duration = Duration::from_secs(2);
/// Characters of a passage.
const PASSAGE_CHARS: usize = 400;
/// Of those, before the first word that was found.
const PASSAGE_LEAD: usize = 80;

/// What the server keeps for searches.
#[derive(Debug)]
pub(super) struct Searches {
    turns: Semaphore,
    /// Rung when there is something to index.
    behind: tokio::sync::Notify,
    /// Rung when there is a file to read.
    unread: tokio::sync::Notify,
}

impl Default for Searches {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AT_ONCE),
            behind: tokio::sync::Notify::new(),
            unread: tokio::sync::Notify::new(),
        }
    }
}

impl Ops {
    /// Messages that the actor can read.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::Unavailable`] if it takes too long, or too many look for something.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn search_messages(&self, actor: &Actor, query: SearchQuery) -> Result<SearchPage<Message>> {
        let (this, viewer) = (self.clone(), viewer(actor));
        detached(async move { this.messages_found(viewer, query).await }).await
    }

    async fn messages_found(
        &self,
        viewer: Option<UserId>,
        query: SearchQuery,
    ) -> Result<SearchPage<Message>> {
        let (mut search, _) = check(viewer, &query)?;
        search.needs.extend(marks(&query.wanted).map(Need::AnyOf));
        search.rejects.extend(marks(&query.unwanted).map(Need::AnyOf));
        search.has_file = trait_of(query.wanted.has_file, query.unwanted.has_file)?;
        search.has_reaction = trait_of(query.wanted.has_reaction, query.unwanted.has_reaction)?;
        search.in_thread = trait_of(query.wanted.in_thread, query.unwanted.in_thread)?;
        let _turn = self.turn().await?;
        let mut conn = self.0.store.read().await?;
        let page = Paging::begin(&mut conn, Index::Messages, &mut search, &query).await?;
        let found = conn.search_messages(&search, PATIENCE).await?;
        let (found, next) = page.end(found);
        let seen = conn.messages_seen(viewer, &ids(&found)).await?;
        let seen = seen.into_iter().map(|message| (message.id.0, message)).collect();
        Ok(SearchPage { hits: hits(found, seen), next })
    }

    /// Files that the actor can see.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::Unavailable`] if it takes too long, or too many look for something.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn search_files(&self, actor: &Actor, query: SearchQuery) -> Result<SearchPage<File>> {
        let (this, viewer) = (self.clone(), viewer(actor));
        detached(async move { this.files_found(viewer, query).await }).await
    }

    async fn files_found(&self, viewer: Option<UserId>, query: SearchQuery) -> Result<SearchPage<File>> {
        let (mut search, wanted_words) = check(viewer, &query)?;
        search.channels = Some(query.wanted.channels.clone()).filter(|ids| !ids.is_empty());
        search.not_channels = query.unwanted.channels.clone();
        search.owners = Some(query.wanted.senders.clone()).filter(|ids| !ids.is_empty());
        search.not_owners = query.unwanted.senders.clone();
        let _turn = self.turn().await?;
        let mut conn = self.0.store.read().await?;
        let page = Paging::begin(&mut conn, Index::Files, &mut search, &query).await?;
        let found = conn.search_files(&search, PATIENCE).await?;
        let (found, next) = page.end(found);
        let seen = conn.files_seen(viewer, &ids(&found)).await?;
        let seen: HashMap<i64, File> = seen.into_iter().map(|file| (file.id.0, file)).collect();
        let mut texts: HashMap<i64, String> =
            conn.texts_of(&seen.keys().copied().collect::<Vec<_>>()).await?.into_iter().collect();
        let mut hits = hits(found, seen);
        for hit in &mut hits {
            hit.passage = texts.remove(&hit.item.id.0).and_then(|text| passage(&text, &wanted_words));
        }
        Ok(SearchPage { hits, next })
    }

    /// A place among the queries that run.
    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>> {
        match tokio::time::timeout(TURN, self.0.searches.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Error::Unavailable("too many searches run at once".into())),
        }
    }
}

/// Whose permissions count; none for the deployment itself, which sees everything.
fn viewer(actor: &Actor) -> Option<UserId> {
    actor.user_id()
}

/// What a query means without its filters, and the words that are to be there.
fn check(viewer: Option<UserId>, query: &SearchQuery) -> Result<(Search, Vec<Sought>)> {
    let mut faults = Faults::default();
    if query.terms.len() > MAX_TERMS {
        faults.push("terms", "length", format!("may have at most {MAX_TERMS} items"));
    }
    for filter in [&query.wanted, &query.unwanted] {
        if filter.channels.len().max(filter.senders.len()) > MAX_FILTER_IDS {
            faults.push("filter", "length", format!("may have at most {MAX_FILTER_IDS} ids"));
        }
    }
    if !(1..=MAX_PAGE).contains(&query.limit) {
        faults.push("limit", "out_of_range", format!("must be 1 to {MAX_PAGE}"));
    }
    let mut search = Search::of(viewer, query.limit);
    (search.since, search.until) = (query.since, query.until);
    let (mut wanted, mut words) = (Vec::new(), 0);
    for (at, term) in query.terms.iter().enumerate() {
        let Some(sought) = sought(&term.text, term.is_prefix) else {
            faults.push(&format!("terms[{at}]"), "no_word", "has no word in it");
            continue;
        };
        words += sought.words.len();
        if term.is_negated {
            search.rejects.push(Need::Words(sought));
        } else {
            wanted.push(sought.clone());
            search.needs.push(Need::Words(sought));
        }
    }
    if words > MAX_SOUGHT_WORDS {
        faults.push("terms", "length", format!("may have at most {MAX_SOUGHT_WORDS} words together"));
    }
    faults.into_result()?;
    Ok((search, wanted))
}

/// What the index knows of a filter.
fn marks(filter: &SearchFilter) -> impl Iterator<Item = Vec<Mark>> {
    let channels: Vec<_> = filter.channels.iter().map(|id| Mark::In(*id)).collect();
    let senders: Vec<_> = filter.senders.iter().map(|id| Mark::From(*id)).collect();
    let link = if filter.has_link { vec![Mark::Link] } else { Vec::new() };
    [channels, senders, link].into_iter().filter(|marks| !marks.is_empty())
}

fn trait_of(wanted: bool, unwanted: bool) -> Result<Option<bool>> {
    match (wanted, unwanted) {
        (true, true) => Err(Error::invalid("has", "contradiction", "is wanted and unwanted")),
        (true, false) => Ok(Some(true)),
        (false, true) => Ok(Some(false)),
        (false, false) => Ok(None),
    }
}

fn ids(found: &[Found]) -> Vec<i64> {
    found.iter().map(|(id, _)| *id).collect()
}

/// In the order in which they were found; what can't be seen any more is left out.
fn hits<T>(found: Vec<Found>, mut seen: HashMap<i64, T>) -> Vec<Hit<T>> {
    let hit = |(id, score)| Some(Hit { item: seen.remove(&id)?, score, passage: None });
    found.into_iter().filter_map(hit).collect()
}

/// Where a page begins and what comes after it.
///
/// By relevance that is a number of those to pass over, among what was there when the first page was asked for, so that what
/// is posted meanwhile moves nothing; by age it is an id.
struct Paging {
    limit: usize,
    /// By relevance: how many come before the page, and the bound of the ids.
    ranked: Option<(i64, i64)>,
}

impl Paging {
    /// Puts the place of the page into the search.
    async fn begin(conn: &mut Conn, index: Index, search: &mut Search, query: &SearchQuery) -> Result<Self> {
        let wrong = || Error::invalid("cursor", "format", "is none that this query has given");
        let by_relevance = query.order == SearchOrder::Relevance
            && search.needs.iter().any(|need| matches!(need, Need::Words(_)));
        let numbers = |cursor: &str, kind: char| -> Option<Vec<i64>> {
            cursor
                .strip_prefix(kind)?
                .split('-')
                .map(|number| number.parse().ok().filter(|n| *n >= 0))
                .collect()
        };
        let limit = usize::try_from(search.limit).unwrap_or(0);
        // One more tells whether there is more.
        search.limit += 1;
        if !by_relevance {
            if let Some(cursor) = &query.cursor {
                match numbers(cursor, 'n').ok_or_else(wrong)?.as_slice() {
                    [below] => search.below = Some(*below),
                    _ => return Err(wrong()),
                }
            }
            return Ok(Self { limit, ranked: None });
        }
        let (offset, below) = match &query.cursor {
            None => (0, conn.newest_id(index).await? + 1),
            Some(cursor) => match numbers(cursor, 'r').ok_or_else(wrong)?.as_slice() {
                [offset, below] => (*offset, *below),
                _ => return Err(wrong()),
            },
        };
        search.below = Some(below);
        search.order = Order::Relevance { offset };
        Ok(Self { limit, ranked: Some((offset, below)) })
    }

    /// The page of what was found, and the cursor of the next one.
    fn end(self, mut found: Vec<Found>) -> (Vec<Found>, Option<String>) {
        if found.len() <= self.limit {
            return (found, None);
        }
        found.truncate(self.limit);
        let next = match self.ranked {
            Some((offset, below)) => {
                let offset = offset.saturating_add(i64::try_from(self.limit).unwrap_or(i64::MAX));
                Some(format!("r{offset}-{below}"))
            }
            None => found.last().map(|(id, _)| format!("n{id}")),
        };
        (found, next)
    }
}

/// What is written around the first place where something was found.
fn passage(text: &str, sought: &[Sought]) -> Option<String> {
    let at = found_in(text, sought).first()?.start;
    let lead = text.get(..at)?.chars().rev().take(PASSAGE_LEAD).map(char::len_utf8).sum::<usize>();
    let passage: String = text.get(at - lead..)?.chars().take(PASSAGE_CHARS).collect();
    Some(passage.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passages() {
        let sought = [sought("needle", false).unwrap()];
        let hay = "hay ".repeat(100);
        assert_eq!(passage(&hay, &sought), None);
        let text = format!("{hay}Needle {hay}");
        let passage = passage(&text, &sought).unwrap();
        assert!(passage.starts_with("hay hay ") && passage.contains(" Needle hay"), "{passage}");
        assert!(passage.chars().count() <= PASSAGE_CHARS);
    }
}

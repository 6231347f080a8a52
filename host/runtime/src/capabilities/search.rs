//! `search`: looking for messages, files and channels with the actor's permissions.

use async_trait::async_trait;
use patchbay_core::{
    Actor, ChannelId, SearchFilter, SearchOrder, SearchQuery, SearchTerm, Timestamp, UserId,
    search::{MAX_FILTER_IDS, MAX_TERM_BYTES, MAX_TERMS},
};
use wasmtime::component::{Linker, Resource};

use super::check_limit;
use crate::{
    HostError, HostErrorKind,
    bindings::wit::{search as wit, types},
    state::{CallState, Own, id_in, id_out, own},
};

const MAX_PAGE: u32 = 200;
/// Most bytes of a cursor: several times what the embedder makes.
const MAX_CURSOR_BYTES: usize = 128;

/// Something that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchHit {
    /// Its id.
    pub id: i64,
    /// How well it fits; more is better.
    pub score: f64,
    /// As the API shows it to the actor, a JSON object.
    pub json: String,
    /// A passage of what is written in a file.
    pub passage: Option<String>,
}

/// A page of what was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchHits {
    /// What was found.
    pub hits: Vec<SearchHit>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// What the embedder does for plugins that look for something, with the permissions of `actor`: what it may not read is
/// not found. Lengths and numbers of a query are checked; that its terms have words, and what a cursor means, is not.
#[async_trait]
pub trait Search {
    /// Messages.
    async fn messages(&self, actor: &Actor, query: SearchQuery) -> Result<SearchHits, HostError>;
    /// Files; the query asks for no traits.
    async fn files(&self, actor: &Actor, query: SearchQuery) -> Result<SearchHits, HostError>;
    /// Channels by name and description; `text` has 1 to 512 bytes.
    async fn channels(
        &self,
        actor: &Actor,
        text: &str,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<SearchHits, HostError>;
    /// Up to 50 channels of exactly that name.
    async fn channels_named(&self, actor: &Actor, name: &str) -> Result<Vec<ChannelId>, HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

fn invalid(why: impl Into<String>) -> HostError {
    HostError::new(HostErrorKind::Invalid, why.into())
}

fn check_text(what: &str, text: &str) -> Result<(), HostError> {
    if (1..=MAX_TERM_BYTES).contains(&text.len()) {
        Ok(())
    } else {
        Err(invalid(format!("{what} must have 1 to {MAX_TERM_BYTES} bytes")))
    }
}

fn check_cursor(cursor: Option<&str>) -> Result<(), HostError> {
    match cursor {
        Some(cursor) if cursor.len() > MAX_CURSOR_BYTES => Err(invalid("cursor is none that this host made")),
        _ => Ok(()),
    }
}

fn filter(filter: wit::Filter) -> Result<SearchFilter, HostError> {
    if filter.channels.len() > MAX_FILTER_IDS || filter.senders.len() > MAX_FILTER_IDS {
        return Err(invalid(format!("more than {MAX_FILTER_IDS} channels or senders")));
    }
    Ok(SearchFilter {
        channels: filter.channels.into_iter().map(|id| ChannelId(id_in(id))).collect(),
        senders: filter.senders.into_iter().map(|id| UserId(id_in(id))).collect(),
        has_file: filter.has.contains(wit::Traits::FILE),
        has_link: filter.has.contains(wit::Traits::LINK),
        has_reaction: filter.has.contains(wit::Traits::REACTION),
        in_thread: filter.has.contains(wit::Traits::THREAD),
    })
}

fn query_in(query: wit::Query) -> Result<SearchQuery, HostError> {
    if query.terms.len() > MAX_TERMS {
        return Err(invalid(format!("more than {MAX_TERMS} terms")));
    }
    for term in &query.terms {
        check_text("a term", &term.text)?;
    }
    check_cursor(query.cursor.as_deref())?;
    let instant = |at: u64| Timestamp(id_in(at));
    let term =
        |term: wit::Term| SearchTerm { text: term.text, is_prefix: term.prefix, is_negated: term.negated };
    Ok(SearchQuery {
        terms: query.terms.into_iter().map(term).collect(),
        wanted: filter(query.wanted)?,
        unwanted: filter(query.unwanted)?,
        since: query.since.map(instant),
        until: query.until.map(instant),
        order: match query.order {
            wit::Order::Relevance => SearchOrder::Relevance,
            wit::Order::Newest => SearchOrder::Newest,
        },
        limit: i64::from(check_limit(query.limit, MAX_PAGE)?),
        cursor: query.cursor,
    })
}

fn size_of_filter(filter: &wit::Filter) -> usize {
    (filter.channels.len() + filter.senders.len()).saturating_mul(size_of::<u64>())
}

fn size_of_query(query: &wit::Query) -> usize {
    let terms: usize = query.terms.iter().map(|term| size_of::<wit::Term>() + term.text.len()).sum();
    terms
        + size_of_filter(&query.wanted)
        + size_of_filter(&query.unwanted)
        + query.cursor.as_ref().map_or(0, String::len)
}

impl CallState {
    /// What was found on its way to the guest, counted.
    fn hits_out(
        &mut self,
        found: Result<SearchHits, HostError>,
    ) -> wasmtime::Result<Result<wit::Page, types::Error>> {
        if let Ok(found) = &found {
            let passage = |hit: &SearchHit| hit.passage.as_ref().map_or(0, String::len);
            let size = |hit: &SearchHit| size_of::<wit::Hit>() + hit.json.len() + passage(hit);
            self.charge_bytes(found.hits.iter().map(size).sum())?;
        }
        Ok(found.map(Into::into).map_err(types::Error::from))
    }
}

impl wit::Host for CallState {
    async fn messages(
        &mut self,
        actor: Resource<Actor>,
        query: wit::Query,
    ) -> wasmtime::Result<Result<wit::Page, types::Error>> {
        self.charge_call(size_of_query(&query))?;
        let query = match query_in(query) {
            Ok(query) => query,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let found = self.wait(Search::messages(&*host, &actor, query)).await;
        self.hits_out(found)
    }

    async fn files(
        &mut self,
        actor: Resource<Actor>,
        query: wit::Query,
    ) -> wasmtime::Result<Result<wit::Page, types::Error>> {
        self.charge_call(size_of_query(&query))?;
        if (query.wanted.has | query.unwanted.has) != wit::Traits::default() {
            return Ok(Err(invalid("files have no traits").into()));
        }
        let query = match query_in(query) {
            Ok(query) => query,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let found = self.wait(Search::files(&*host, &actor, query)).await;
        self.hits_out(found)
    }

    async fn channels(
        &mut self,
        actor: Resource<Actor>,
        text: String,
        limit: u32,
        cursor: Option<String>,
    ) -> wasmtime::Result<Result<wit::Page, types::Error>> {
        self.charge_call(text.len() + cursor.as_ref().map_or(0, String::len))?;
        let checked = check_text("text", &text)
            .and_then(|()| check_cursor(cursor.as_deref()))
            .and_then(|()| check_limit(limit, MAX_PAGE));
        if let Err(error) = checked {
            return Ok(Err(error.into()));
        }
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let found = self.wait(Search::channels(&*host, &actor, &text, limit, cursor.as_deref())).await;
        self.hits_out(found)
    }

    async fn channels_named(
        &mut self,
        actor: Resource<Actor>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<u64>, types::Error>> {
        self.charge_call(name.len())?;
        if let Err(error) = check_text("name", &name) {
            return Ok(Err(error.into()));
        }
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let found = self.wait(Search::channels_named(&*host, &actor, &name)).await;
        if let Ok(found) = &found {
            self.charge_bytes(found.len().saturating_mul(size_of::<u64>()))?;
        }
        Ok(found.map(|ids| ids.into_iter().map(|id| id_out(id.0)).collect()).map_err(types::Error::from))
    }
}

impl From<SearchHits> for wit::Page {
    fn from(found: SearchHits) -> Self {
        let hit = |hit: SearchHit| wit::Hit {
            id: id_out(hit.id),
            score: hit.score,
            json: hit.json,
            passage: hit.passage,
        };
        Self { hits: found.hits.into_iter().map(hit).collect(), next: found.next }
    }
}

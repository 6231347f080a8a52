//! Looking for messages, files and channels. The world is small: everything is looked at.

use async_trait::async_trait;
use patchbay_core::{
    Actor, ChannelId, File, Message, SearchFilter, SearchOrder, SearchQuery, permission::Action,
};
use patchbay_protocol as protocol;
use patchbay_runtime::capabilities::search::{Search, SearchHit, SearchHits};
use patchbay_words::{found_in, sought, words};
use serde::Serialize;
use serde_json::json;

use super::name_of;
use crate::world::{Answer, Room, State, World, invalid};

/// How often what is looked for stands in a text; none if a word is missing, or one is there that must not be.
fn score(text: &str, query: &SearchQuery) -> Answer<Option<f64>> {
    let mut score = 0;
    for term in &query.terms {
        let sought = sought(&term.text, term.is_prefix).ok_or_else(|| invalid("a term has no word in it"))?;
        let found = found_in(text, &[sought]).len();
        if term.is_negated != (found == 0) {
            return Ok(None);
        }
        score += found;
    }
    Ok(Some(score as f64))
}

fn is_within(query: &SearchQuery, at: patchbay_core::Timestamp) -> bool {
    query.since.is_none_or(|since| at >= since) && query.until.is_none_or(|until| at < until)
}

/// Whether a filter holds: all of it, or, of one that must not hold, any of it.
fn holds(state: &State, message: &Message, filter: &SearchFilter, all: bool) -> bool {
    let channel = filter.channels.contains(&message.channel_id);
    let sender = filter.senders.contains(&message.sender.id);
    let reacted = || state.reactions.iter().any(|reaction| reaction.message_id == message.id);
    let parts = [
        (!filter.channels.is_empty()).then_some(channel),
        (!filter.senders.is_empty()).then_some(sender),
        filter.has_file.then_some(!message.files.is_empty()),
        filter.has_link.then(|| words(&message.content).has_link),
        filter.has_reaction.then(reacted),
        filter.in_thread.then(|| message.parent_id.is_some() || message.reply_count > 0),
    ];
    let mut parts = parts.into_iter().flatten();
    if all { parts.all(|holds| holds) } else { parts.any(|holds| holds) }
}

/// A page of what was found, which comes oldest first.
fn page(
    mut hits: Vec<SearchHit>,
    by_relevance: bool,
    limit: usize,
    cursor: Option<&str>,
) -> Answer<SearchHits> {
    hits.reverse();
    if by_relevance {
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    }
    let from: usize = cursor.unwrap_or("0").parse().map_err(|_| invalid("cursor is none that was given"))?;
    let end = from.saturating_add(limit);
    let next = (hits.len() > end).then(|| end.to_string());
    Ok(SearchHits { hits: hits.into_iter().skip(from).take(limit).collect(), next })
}

fn hit(id: i64, score: f64, shown: &impl Serialize) -> SearchHit {
    SearchHit { id, score, json: serde_json::to_string(shown).unwrap_or_default(), passage: None }
}

fn can_see(state: &State, actor: &Actor, file: &File) -> bool {
    let is_own = actor.user_id() == Some(file.uploaded_by_id);
    is_own || file.message_id.is_some_and(|message| state.message(actor, message).is_ok())
}

fn readable<'a>(state: &'a State, actor: &'a Actor) -> impl Iterator<Item = &'a Room> {
    state.rooms.values().filter(|room| state.enter(actor, room.channel.id, Action::Read).is_ok())
}

/// What there is of a query to be written down.
fn shown(query: &SearchQuery) -> serde_json::Value {
    let terms: Vec<_> = query.terms.iter().map(|term| &term.text).collect();
    json!({ "terms": terms, "limit": query.limit, "cursor": query.cursor })
}

#[async_trait]
impl Search for World {
    async fn messages(&self, actor: &Actor, query: SearchQuery) -> Answer<SearchHits> {
        let arguments = json!({ "actor": name_of(self, actor), "query": shown(&query) });
        self.call(("search", "messages"), arguments, |state| {
            let mut hits = Vec::new();
            for message in state.messages.values() {
                let may_read = state.message(actor, message.id).is_ok() && message.deleted_at.is_none();
                let fits = is_within(&query, message.created_at)
                    && holds(state, message, &query.wanted, true)
                    && !holds(state, message, &query.unwanted, false);
                let Some(score) = score(&message.content, &query)? else { continue };
                if may_read && fits {
                    hits.push(hit(message.id.0, score, &protocol::Message::from(message)));
                }
            }
            let limit = usize::try_from(query.limit).unwrap_or(0);
            page(hits, query.order == SearchOrder::Relevance, limit, query.cursor.as_deref())
        })
    }

    async fn files(&self, actor: &Actor, query: SearchQuery) -> Answer<SearchHits> {
        let arguments = json!({ "actor": name_of(self, actor), "query": shown(&query) });
        self.call(("search", "files"), arguments, |state| {
            let mut hits = Vec::new();
            for (file, content) in state.files.values() {
                let text =
                    format!("{} {} {}", file.filename, file.file_type, String::from_utf8_lossy(content));
                let channel = file.message_id.and_then(|id| state.messages.get(&id)).map(|m| m.channel_id);
                let is_in = |channels: &[ChannelId]| channel.is_some_and(|id| channels.contains(&id));
                let fits = is_within(&query, file.created_at)
                    && (query.wanted.channels.is_empty() || is_in(&query.wanted.channels))
                    && !is_in(&query.unwanted.channels)
                    && (query.wanted.senders.is_empty()
                        || query.wanted.senders.contains(&file.uploaded_by_id))
                    && !query.unwanted.senders.contains(&file.uploaded_by_id);
                let Some(score) = score(&text, &query)? else { continue };
                if fits && can_see(state, actor, file) {
                    hits.push(hit(file.id.0, score, &protocol::File::from(file)));
                }
            }
            let limit = usize::try_from(query.limit).unwrap_or(0);
            page(hits, query.order == SearchOrder::Relevance, limit, query.cursor.as_deref())
        })
    }

    async fn channels(
        &self,
        actor: &Actor,
        text: &str,
        limit: u32,
        cursor: Option<&str>,
    ) -> Answer<SearchHits> {
        let arguments = json!({ "actor": name_of(self, actor), "text": text });
        self.call(("search", "channels"), arguments, |state| {
            let begun = sought(text, true).ok_or_else(|| invalid("text has no word in it"))?;
            let mut hits = Vec::new();
            for room in readable(state, actor) {
                let told =
                    format!("{} {}", room.channel.name, room.channel.description.as_deref().unwrap_or(""));
                if !found_in(&told, std::slice::from_ref(&begun)).is_empty() {
                    let view = state.seen(actor, room);
                    hits.push(hit(room.channel.id.0, 1.0, &protocol::Channel::from(&view)));
                }
            }
            page(hits, true, limit as usize, cursor)
        })
    }

    async fn channels_named(&self, actor: &Actor, name: &str) -> Answer<Vec<ChannelId>> {
        let arguments = json!({ "actor": name_of(self, actor), "name": name });
        self.call(("search", "channels-named"), arguments, |state| {
            let wanted = name.to_lowercase();
            let named = readable(state, actor).filter(|room| room.channel.name.to_lowercase() == wanted);
            Ok(named.map(|room| room.channel.id).collect())
        })
    }
}

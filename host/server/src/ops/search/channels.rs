//! Channels by name and description, with a typing error or two.
//!
//! There are few channels and their names are short, so all that the actor can see are looked at: it is the same on both
//! databases, and forgives what no index of theirs does.

use std::collections::HashMap;

use patchbay_core::{Actor, ChannelForViewer, ChannelId, Hit, SearchPage, search::MAX_FILTER_IDS};
use patchbay_store::ChannelText;
use patchbay_words::words;

use super::{Error, Ops, Result, hits, viewer};

/// Most channels that are looked at; of more, the newest.
const MAX_CHANNELS: i64 = 20_000;
/// How much less a word in the description says than one in the name.
const DESCRIPTION: f64 = 0.5;

impl Ops {
    /// Channels that the actor can read and that have all words of the text, or nearly.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn search_channels(
        &self,
        actor: &Actor,
        text: &str,
        limit: i64,
        cursor: Option<&str>,
    ) -> Result<SearchPage<ChannelForViewer>> {
        let sought = texts(text);
        if sought.is_empty() {
            return Err(Error::invalid("text", "no_word", "has no word in it"));
        }
        let offset: usize = match cursor {
            None => 0,
            Some(cursor) => cursor
                .strip_prefix('c')
                .and_then(|offset| offset.parse().ok())
                .ok_or_else(|| Error::invalid("cursor", "format", "is none that this query has given"))?,
        };
        let _turn = self.turn().await?;
        let mut conn = self.0.store.read().await?;
        let channels = conn.channel_texts(viewer(actor), MAX_CHANNELS).await?;
        let mut found: Vec<(i64, f64)> =
            channels.iter().filter_map(|channel| Some((channel.id, score(&sought, channel)?))).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let limit = usize::try_from(limit).unwrap_or(0);
        let end = offset.saturating_add(limit);
        let next = (found.len() > end).then(|| format!("c{end}"));
        let found: Vec<_> = found.into_iter().skip(offset).take(limit).collect();
        let seen = conn.channels_seen(viewer(actor), &super::ids(&found)).await?;
        let seen: HashMap<i64, _> = seen.into_iter().map(|view| (view.channel.id.0, view)).collect();
        let hits: Vec<Hit<_>> = hits(found, seen);
        Ok(SearchPage { hits, next })
    }

    /// The channels of exactly that name, without regard to case, that the actor can read.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn channels_named(&self, actor: &Actor, name: &str) -> Result<Vec<ChannelId>> {
        let name = name.to_lowercase();
        let channels = self.0.store.read().await?.channel_texts(viewer(actor), MAX_CHANNELS).await?;
        let same = channels.into_iter().filter(|channel| channel.name.to_lowercase() == name);
        Ok(same.map(|channel| ChannelId(channel.id)).take(MAX_FILTER_IDS).collect())
    }
}

fn texts(text: &str) -> Vec<String> {
    words(text).words.into_iter().map(|token| token.text).collect()
}

/// How well a channel fits: 0 to 1; none if a word is missing.
fn score(sought: &[String], channel: &ChannelText) -> Option<f64> {
    let name = texts(&channel.name);
    let description = texts(channel.description.as_deref().unwrap_or_default());
    // `dev-ops` is found as `devops`, and the other way round.
    let fused = (name.len() > 1).then(|| name.concat());
    let best = |word: &str| {
        let in_name = name.iter().chain(&fused).map(|token| likeness(word, token)).fold(0.0, f64::max);
        let told = description.iter().map(|token| likeness(word, token)).fold(0.0, f64::max);
        in_name.max(told * DESCRIPTION)
    };
    let each = || {
        let mut sum = 0.0;
        for word in sought {
            let best = best(word);
            if best == 0.0 {
                return None;
            }
            sum += best;
        }
        Some(sum / sought.len() as f64)
    };
    let together = || (sought.len() > 1).then(|| best(&sought.concat())).filter(|best| *best > 0.0);
    each().or_else(together)
}

/// How much a word is like another: 1 for the same, less for its beginning, less for one with typing errors; 0 for
/// anything else.
fn likeness(word: &str, token: &str) -> f64 {
    if word == token {
        return 1.0;
    }
    if token.starts_with(word) {
        return 0.8;
    }
    let length = word.chars().count();
    let allowed = match length {
        0..=3 => return 0.0,
        4..=7 => 1,
        _ => 2,
    };
    let cost = |token: &str| match strsim::osa_distance(word, token) {
        1 if allowed >= 1 => 0.6,
        2 if allowed >= 2 => 0.5,
        _ => 0.0,
    };
    let whole = if token.chars().count().abs_diff(length) <= allowed { cost(token) } else { 0.0 };
    // The beginning of a longer word, of any length that errors can have made of it.
    let beginning = |taken: usize| token.chars().take(taken).collect::<String>();
    let begun = (length - 1..=length + 1).map(|taken| cost(&beginning(taken)) * 0.6).fold(0.0, f64::max);
    whole.max(begun)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str, description: &str) -> ChannelText {
        ChannelText { id: 1, name: name.to_owned(), description: Some(description.to_owned()) }
    }

    #[test]
    fn typing_errors_are_forgiven_and_cost() {
        let of = |text: &str, name: &str, told: &str| {
            score(&texts(text), &channel(name, told)).unwrap_or_default()
        };
        let falling = [
            of("general", "general", ""),
            of("gener", "general", ""),
            of("genral", "general", ""),
            of("genreal", "general", ""),
            of("generla", "generalists", ""),
            of("genral", "town", "for general talk"),
        ];
        assert!(falling.iter().all(|score| *score > 0.0), "{falling:?}");
        assert!(falling.windows(2).all(|pair| pair[0] >= pair[1]), "{falling:?}");
        for (text, name) in [
            ("enginering", "engineering"),
            ("platfrom enginering", "platform-engineering"),
            ("devops", "dev-ops"),
            ("dev ops", "devops"),
            ("café", "Cafe"),
            ("京都", "東京都"),
            ("ops", "ops-emea"),
        ] {
            assert!(of(text, name, "") > 0.0, "{text} does not find {name}");
        }
        for (text, name) in [("general", "random"), ("osp", "ops"), ("ops random", "ops"), ("deploy", "dev")]
        {
            assert_eq!(of(text, name, ""), 0.0, "{text} finds {name}");
        }
    }
}

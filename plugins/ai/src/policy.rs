//! Which channels are left out, and what else the operator set.
//!
//! Owns: the settings. Must not: keep them; they are read anew at each call.

use patchbay_sdk::{ChannelId, Error, channels::Channel, settings};

use crate::passages;

/// What the operator set.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    excluded: Vec<String>,
    with_direct_messages: bool,
    /// The provider that answers; none: the default one.
    pub chat: Option<String>,
    /// The provider that embeds; none: the default one.
    pub embedding: Option<String>,
    /// Most questions of one person a minute; 0: any number.
    pub questions: u64,
}

impl Policy {
    /// Reads it.
    ///
    /// # Errors
    /// The host's.
    pub fn read() -> Result<Self, Error> {
        let text = |key| Ok::<_, Error>(settings::get::<String>(key)?.filter(|name| !name.is_empty()));
        let questions: i64 = settings::get("questions_per_minute")?.unwrap_or_default();
        Ok(Self {
            excluded: settings::get::<Vec<String>>("exclude_channels")?.unwrap_or_default(),
            with_direct_messages: settings::get("include_direct_messages")?.unwrap_or_default(),
            chat: text("chat_provider")?,
            embedding: text("embedding_provider")?,
            questions: u64::try_from(questions).unwrap_or_default(),
        })
    }

    /// Whether anything of a channel may be embedded, found and sent to a provider.
    pub fn permits(&self, channel: &Channel) -> bool {
        let name = channel.name.to_lowercase();
        let is_it = |excluded: &String| {
            let excluded = excluded.trim();
            let excluded = excluded.strip_prefix('#').unwrap_or(excluded);
            excluded.parse::<ChannelId>() == Ok(channel.id)
                || (!name.is_empty() && excluded.to_lowercase() == name)
        };
        (self.with_direct_messages || !channel.is_direct_message) && !self.excluded.iter().any(is_it)
    }

    /// The channels that are left out by id, up to `most`: the host's index of words can leave these out itself.
    pub fn excluded_ids(&self, most: usize) -> Vec<ChannelId> {
        self.excluded.iter().filter_map(|text| text.trim().parse().ok()).take(most).collect()
    }

    /// All that decides on what is in the index; another text is another index.
    pub fn rules(&self) -> String {
        let mut excluded = self.excluded.clone();
        excluded.sort();
        serde_json::json!([passages::VERSION, self.with_direct_messages, excluded]).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(id: ChannelId, name: &str, is_direct_message: bool) -> Channel {
        Channel {
            id,
            name: name.to_owned(),
            description: None,
            is_public: false,
            is_direct_message,
            is_voice: false,
            member_count: 2,
        }
    }

    fn policy(excluded: &[&str], with_direct_messages: bool) -> Policy {
        let excluded = excluded.iter().map(|text| (*text).to_owned()).collect();
        Policy { excluded, with_direct_messages, ..Policy::default() }
    }

    #[test]
    fn channels_are_left_out_by_id_and_by_name() {
        let some = policy(&["7", " #Legal ", "HR"], false);
        let permitted = [(7, "x"), (8, "legal"), (9, "hr"), (70, "legally"), (10, "7"), (11, "")];
        let permitted = permitted.map(|(id, name)| some.permits(&channel(id, name, false)));
        assert_eq!(permitted, [false, false, false, true, false, true]);
        assert_eq!(some.excluded_ids(50), [7]);
    }

    #[test]
    fn direct_messages_are_left_out_unless_they_are_wanted() {
        assert!(!policy(&[], false).permits(&channel(1, "", true)));
        assert!(policy(&[], true).permits(&channel(1, "", true)));
        assert!(!policy(&["1"], true).permits(&channel(1, "", true)));
        assert_ne!(policy(&[], true).rules(), policy(&[], false).rules());
        assert_eq!(policy(&["b", "a"], true).rules(), policy(&["a", "b"], true).rules());
    }
}

//! A host that answers at once from memory: what remains is the cost of the call.
//!
//! Owns: just enough of every capability to run the reactions plugin. Must not: wait.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use patchbay_core::{
    Actor, ChannelForViewer, ChannelId, File, FileId, Message, MessageId, Reaction, ReactionCount,
    ReactionId, SearchQuery, Status, Timestamp, User, UserId,
};
use patchbay_runtime::{
    HostError, HostErrorKind,
    capabilities::{
        bots::{Bot, Bots},
        channels::Channels,
        config::Config,
        deployment::Deployment,
        files::Files,
        http_client::{HttpClient, IncomingAnswer, OutgoingRequest},
        identity::Identity,
        keys::Keys,
        kv::{Kv, KvChange, KvEntry, PluginEvent},
        llm::{Llm, LlmAnswer, LlmEmbeddings, LlmPrompt, LlmProvider, LlmSummary},
        log::{Log, LogLevel},
        messages::Messages,
        presence::Presence,
        reactions::Reactions,
        realtime::Realtime,
        scheduler::{ScheduledJob, Scheduler},
        search::{Search, SearchHits},
        users::Users,
        vectors::{Neighbor, VectorCondition, VectorItem, Vectors},
    },
};

pub struct MemoryHost;

fn absent<T>() -> Result<T, HostError> {
    Err(HostError::new(HostErrorKind::Unavailable, "not part of this benchmark"))
}

/// The reaction that the host and the bare embedding both answer with.
pub fn reaction(user_id: UserId, message_id: MessageId, emoji: &str) -> Reaction {
    Reaction {
        id: ReactionId(1),
        emoji: emoji.to_owned(),
        user_id,
        message_id,
        created_at: Timestamp(1_700_000_000_000),
    }
}

#[async_trait]
impl Reactions for MemoryHost {
    async fn add(
        &self,
        actor: &Actor,
        message: MessageId,
        emoji: &str,
    ) -> Result<(Reaction, bool), HostError> {
        Ok((reaction(actor.user_id().unwrap_or(UserId(0)), message, emoji), true))
    }

    async fn remove(&self, _: &Actor, _: MessageId, _: &str) -> Result<(), HostError> {
        Ok(())
    }

    async fn list(
        &self,
        actor: &Actor,
        message: MessageId,
        _: Option<ReactionId>,
        _: u32,
    ) -> Result<Vec<Reaction>, HostError> {
        Ok(vec![reaction(actor.user_id().unwrap_or(UserId(0)), message, "👍")])
    }

    async fn counts(&self, _: &Actor, messages: &[MessageId]) -> Result<Vec<ReactionCount>, HostError> {
        let count =
            |id: &MessageId| ReactionCount { message_id: *id, emoji: "👍".to_owned(), count: 1, me: true };
        Ok(messages.iter().map(count).collect())
    }
}

impl Log for MemoryHost {
    fn write(&self, _: &str, _: LogLevel, _: &str) {}
}

#[async_trait]
impl Kv for MemoryHost {
    async fn get(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>, HostError> {
        absent()
    }

    async fn get_many(&self, _: &str, _: &[String]) -> Result<Vec<Option<Vec<u8>>>, HostError> {
        absent()
    }

    async fn scan(&self, _: &str, _: &str, _: Option<&str>, _: u32) -> Result<Vec<KvEntry>, HostError> {
        absent()
    }

    async fn set(&self, _: &str, _: &str, _: Vec<u8>) -> Result<(), HostError> {
        absent()
    }

    async fn delete(&self, _: &str, _: &str) -> Result<bool, HostError> {
        absent()
    }

    async fn compare_and_swap(
        &self,
        _: &str,
        _: &str,
        _: Option<Vec<u8>>,
        _: Option<Vec<u8>>,
    ) -> Result<bool, HostError> {
        absent()
    }

    async fn commit(
        &self,
        _: &str,
        _: Option<&Actor>,
        _: Vec<KvChange>,
        _: Vec<PluginEvent>,
    ) -> Result<(), HostError> {
        absent()
    }
}

#[async_trait]
impl Messages for MemoryHost {
    async fn get(&self, _: &Actor, _: MessageId) -> Result<Message, HostError> {
        absent()
    }

    async fn list(
        &self,
        _: &Actor,
        _: ChannelId,
        _: Option<MessageId>,
        _: u32,
    ) -> Result<Vec<Message>, HostError> {
        absent()
    }

    async fn show(&self, _: &Actor, _: &[MessageId]) -> Result<Vec<(MessageId, String)>, HostError> {
        absent()
    }

    async fn post(
        &self,
        _: &Actor,
        _: ChannelId,
        _: &str,
        _: Option<MessageId>,
        _: Vec<FileId>,
    ) -> Result<Message, HostError> {
        absent()
    }

    async fn edit(&self, _: &Actor, _: MessageId, _: &str) -> Result<Message, HostError> {
        absent()
    }

    async fn delete(&self, _: &Actor, _: MessageId) -> Result<(), HostError> {
        absent()
    }
}

#[async_trait]
impl Channels for MemoryHost {
    async fn get(&self, _: &Actor, _: ChannelId) -> Result<ChannelForViewer, HostError> {
        absent()
    }

    async fn list(
        &self,
        _: &Actor,
        _: Option<ChannelId>,
        _: u32,
    ) -> Result<Vec<ChannelForViewer>, HostError> {
        absent()
    }

    async fn members(
        &self,
        _: &Actor,
        _: ChannelId,
        _: Option<UserId>,
        _: u32,
    ) -> Result<Vec<UserId>, HostError> {
        absent()
    }
}

#[async_trait]
impl Users for MemoryHost {
    async fn get(&self, _: &Actor, _: UserId) -> Result<User, HostError> {
        absent()
    }

    async fn find(&self, _: &Actor, _: &str) -> Result<User, HostError> {
        absent()
    }
}

#[async_trait]
impl Config for MemoryHost {
    async fn value(&self, _: &str, _: &str) -> Result<Option<serde_json::Value>, HostError> {
        absent()
    }

    async fn secret(&self, _: &str, _: &str) -> Result<Option<String>, HostError> {
        absent()
    }
}

#[async_trait]
impl Identity for MemoryHost {
    async fn bot(&self, _: &str) -> Result<Actor, HostError> {
        absent()
    }
}

#[async_trait]
impl Files for MemoryHost {
    async fn get(&self, _: &Actor, _: FileId) -> Result<File, HostError> {
        absent()
    }

    async fn of_message(&self, _: &Actor, _: MessageId) -> Result<Vec<File>, HostError> {
        absent()
    }

    async fn read(&self, _: &Actor, _: FileId, _: Range<u64>) -> Result<Vec<u8>, HostError> {
        absent()
    }

    async fn create(&self, _: &Actor, _: &str, _: &str, _: Bytes) -> Result<File, HostError> {
        absent()
    }
}

#[async_trait]
impl Presence for MemoryHost {
    async fn get(&self, _: &Actor, _: &[UserId]) -> Result<Vec<Status>, HostError> {
        absent()
    }
}

#[async_trait]
impl Realtime for MemoryHost {
    async fn signal(&self, _: &str, _: &Actor, _: ChannelId, _: &str, _: &str) -> Result<(), HostError> {
        absent()
    }
}

#[async_trait]
impl Scheduler for MemoryHost {
    async fn schedule(&self, _: &str, _: ScheduledJob) -> Result<(), HostError> {
        absent()
    }

    async fn cancel(&self, _: &str, _: &str) -> Result<bool, HostError> {
        absent()
    }

    async fn list(&self, _: &str, _: Option<&str>, _: u32) -> Result<Vec<ScheduledJob>, HostError> {
        absent()
    }
}

#[async_trait]
impl HttpClient for MemoryHost {
    async fn send(&self, _: &str, _: OutgoingRequest) -> Result<IncomingAnswer, HostError> {
        absent()
    }
}

#[async_trait]
impl Search for MemoryHost {
    async fn messages(&self, _: &Actor, _: SearchQuery) -> Result<SearchHits, HostError> {
        absent()
    }

    async fn files(&self, _: &Actor, _: SearchQuery) -> Result<SearchHits, HostError> {
        absent()
    }

    async fn channels(&self, _: &Actor, _: &str, _: u32, _: Option<&str>) -> Result<SearchHits, HostError> {
        absent()
    }

    async fn channels_named(&self, _: &Actor, _: &str) -> Result<Vec<ChannelId>, HostError> {
        absent()
    }
}

#[async_trait]
impl Bots for MemoryHost {
    async fn create(&self, _: &Actor, _: &str, _: String, _: Option<String>) -> Result<Bot, HostError> {
        absent()
    }

    async fn get(&self, _: &Actor, _: &str, _: UserId) -> Result<Bot, HostError> {
        absent()
    }

    async fn list(&self, _: &Actor, _: &str, _: Option<UserId>, _: u32) -> Result<Vec<Bot>, HostError> {
        absent()
    }

    async fn update(
        &self,
        _: &Actor,
        _: &str,
        _: UserId,
        _: Option<String>,
        _: Option<bool>,
    ) -> Result<Bot, HostError> {
        absent()
    }

    async fn delete(&self, _: &Actor, _: &str, _: UserId) -> Result<(), HostError> {
        absent()
    }

    async fn issue_token(&self, _: &Actor, _: &str, _: UserId, _: Vec<String>) -> Result<String, HostError> {
        absent()
    }

    async fn join(&self, _: &Actor, _: &str, _: UserId, _: ChannelId) -> Result<(), HostError> {
        absent()
    }

    async fn act_as(&self, _: &str, _: UserId) -> Result<Actor, HostError> {
        absent()
    }
}

#[async_trait]
impl Deployment for MemoryHost {
    async fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000)
    }

    async fn public_url(&self) -> String {
        "http://localhost".to_owned()
    }
}

#[async_trait]
impl Keys for MemoryHost {
    async fn derive(&self, _: &str, _: &str) -> Result<Vec<u8>, HostError> {
        absent()
    }
}

#[async_trait]
impl Llm for MemoryHost {
    async fn providers(&self) -> Vec<LlmProvider> {
        Vec::new()
    }

    async fn complete(&self, _: &str, _: LlmPrompt) -> Result<(String, LlmSummary), HostError> {
        absent()
    }

    async fn stream(&self, _: &str, _: LlmPrompt) -> Result<Box<dyn LlmAnswer>, HostError> {
        absent()
    }

    fn count_tokens(&self, _: &str) -> u32 {
        0
    }

    async fn embedder(&self, _: Option<&str>) -> Result<String, HostError> {
        absent()
    }

    async fn embed(&self, _: &str, _: Option<&str>, _: Vec<String>) -> Result<LlmEmbeddings, HostError> {
        absent()
    }
}

#[async_trait]
impl Vectors for MemoryHost {
    async fn upsert(&self, _: &str, _: &str, _: Vec<VectorItem>) -> Result<(), HostError> {
        absent()
    }

    async fn delete(&self, _: &str, _: &str, _: &[String]) -> Result<(), HostError> {
        absent()
    }

    async fn delete_where(&self, _: &str, _: &str, _: &[VectorCondition]) -> Result<(), HostError> {
        absent()
    }

    async fn clear(&self, _: &str, _: &str) -> Result<(), HostError> {
        absent()
    }

    async fn query(
        &self,
        _: &str,
        _: &str,
        _: Vec<f32>,
        _: Vec<VectorCondition>,
        _: u32,
    ) -> Result<Vec<Neighbor>, HostError> {
        absent()
    }

    async fn count(&self, _: &str, _: &str) -> Result<u64, HostError> {
        absent()
    }
}

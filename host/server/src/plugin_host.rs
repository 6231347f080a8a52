//! What the host does for plugins: the runtime's traits over the operations. A thin door like REST and the
//! gateway.

use std::{collections::HashMap, convert::Infallible, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use patchbay_core::{
    Actor, ChannelForViewer, ChannelId, File, FileId, Message, MessageId, Reaction, ReactionCount,
    ReactionId, SearchPage, SearchQuery, Status, Timestamp, User, UserId, VisiblePresence,
};
use patchbay_protocol as protocol;
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
        log::{Log, LogLevel},
        messages::Messages,
        presence::Presence,
        reactions::Reactions,
        realtime::Realtime,
        scheduler::{ScheduledJob, Scheduler},
        search::{Search, SearchHit, SearchHits},
        users::Users,
    },
};
use patchbay_store::BotRow;

use crate::gateway::Online;
use crate::ops::{BotChanges, Error, NewPost, Ops, PageRequest};

/// The host's side of the plugin contract.
#[derive(Clone, Debug)]
pub struct PluginHost(pub Ops, pub Online);

type Answer<T> = Result<T, HostError>;

pub(crate) fn host_error(error: Error) -> HostError {
    let detail = error.to_string();
    let kind = match error {
        Error::NotFound(thing) => {
            let code = format!("{}_not_found", thing.as_str());
            return HostError::new(HostErrorKind::NotFound, detail).with_code(code);
        }
        Error::Denied(code, _) => return HostError::new(HostErrorKind::Forbidden, detail).with_code(code),
        Error::Forbidden(_) | Error::Unauthenticated(..) => HostErrorKind::Forbidden,
        Error::Invalid(faults) => {
            let faults: Vec<_> = faults.iter().map(|f| format!("{} {}", f.field, f.message)).collect();
            return HostError::new(HostErrorKind::Invalid, faults.join("; "));
        }
        Error::Conflict("kv_full" | "too_many_jobs", _) | Error::TooLarge(_) | Error::QuotaExceeded(_) => {
            HostErrorKind::LimitExceeded
        }
        Error::Conflict(code, _) => return HostError::new(HostErrorKind::Conflict, detail).with_code(code),
        Error::Refused(..) | Error::RefusedByPlugin { .. } => HostErrorKind::Conflict,
        Error::Unavailable(_) | Error::TooMany(_) => HostErrorKind::Unavailable,
        Error::Store(_) | Error::Internal(_) => {
            tracing::error!(%error, "a plugin's call into the host failed");
            return HostError::new(HostErrorKind::Internal, "the host failed; it has logged why");
        }
    };
    HostError::new(kind, detail)
}

impl Log for PluginHost {
    fn write(&self, plugin: &str, level: LogLevel, line: &str) {
        self.0.plugin_log().push(plugin, level, line);
        match level {
            LogLevel::Trace => tracing::trace!(target: "plugin", plugin, "{line:?}"),
            LogLevel::Debug => tracing::debug!(target: "plugin", plugin, "{line:?}"),
            LogLevel::Info => tracing::info!(target: "plugin", plugin, "{line:?}"),
            LogLevel::Warn => tracing::warn!(target: "plugin", plugin, "{line:?}"),
            // A plugin's errors are its operator's to look at; the server's own are worth waking somebody.
            LogLevel::Error => tracing::warn!(target: "plugin", plugin, level = "error", "{line:?}"),
        }
    }
}

#[async_trait]
impl Kv for PluginHost {
    async fn get(&self, plugin: &str, key: &str) -> Answer<Option<Vec<u8>>> {
        self.0.kv_get(plugin, key).await.map_err(host_error)
    }

    async fn get_many(&self, plugin: &str, keys: &[String]) -> Answer<Vec<Option<Vec<u8>>>> {
        self.0.kv_get_many(plugin, keys).await.map_err(host_error)
    }

    async fn scan(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Answer<Vec<KvEntry>> {
        self.0.kv_scan(plugin, prefix, after, limit).await.map_err(host_error)
    }

    async fn set(&self, plugin: &str, key: &str, value: Vec<u8>) -> Answer<()> {
        let put = KvChange::Put { key: key.to_owned(), value, message: None };
        self.0.kv_commit(plugin, None, vec![put], Vec::new()).await.map_err(host_error)?;
        Ok(())
    }

    async fn delete(&self, plugin: &str, key: &str) -> Answer<bool> {
        let delete = KvChange::Delete { key: key.to_owned() };
        let existed = self.0.kv_commit(plugin, None, vec![delete], Vec::new()).await.map_err(host_error)?;
        Ok(existed.first().copied().unwrap_or(false))
    }

    async fn compare_and_swap(
        &self,
        plugin: &str,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    ) -> Answer<bool> {
        let key = key.to_owned();
        let expect = KvChange::Expect { key: key.clone(), value: expected };
        let change = match value {
            Some(value) => KvChange::Put { key, value, message: None },
            None => KvChange::Delete { key },
        };
        match self.0.kv_commit(plugin, None, vec![expect, change], Vec::new()).await {
            Ok(_) => Ok(true),
            Err(Error::Conflict("expectation_failed", _)) => Ok(false),
            Err(error) => Err(host_error(error)),
        }
    }

    async fn commit(
        &self,
        plugin: &str,
        actor: Option<&Actor>,
        changes: Vec<KvChange>,
        events: Vec<PluginEvent>,
    ) -> Answer<()> {
        self.0.kv_commit(plugin, actor, changes, events).await.map_err(host_error)?;
        Ok(())
    }
}

#[async_trait]
impl Reactions for PluginHost {
    async fn add(&self, actor: &Actor, message: MessageId, emoji: &str) -> Answer<(Reaction, bool)> {
        self.0.add_reaction(actor, message, emoji.to_owned()).await.map_err(host_error)
    }

    async fn remove(&self, actor: &Actor, message: MessageId, emoji: &str) -> Answer<()> {
        self.0.remove_reaction(actor, message, emoji.to_owned()).await.map_err(host_error)
    }

    async fn list(
        &self,
        actor: &Actor,
        message: MessageId,
        after: Option<ReactionId>,
        limit: u32,
    ) -> Answer<Vec<Reaction>> {
        self.0.reactions(actor, message, after, i64::from(limit)).await.map_err(host_error)
    }

    async fn counts(&self, actor: &Actor, messages: &[MessageId]) -> Answer<Vec<ReactionCount>> {
        self.0.reaction_counts(actor, messages).await.map_err(host_error)
    }
}

#[async_trait]
impl Messages for PluginHost {
    async fn get(&self, actor: &Actor, id: MessageId) -> Answer<Message> {
        self.0.message(actor, id).await.map_err(host_error)
    }

    async fn list(
        &self,
        actor: &Actor,
        channel: ChannelId,
        before: Option<MessageId>,
        limit: u32,
    ) -> Answer<Vec<Message>> {
        let page = PageRequest { before: before.map(|id| id.0), ..PageRequest::first(i64::from(limit)) };
        Ok(self.0.messages(actor, channel, page).await.map_err(host_error)?.items)
    }

    async fn show(&self, actor: &Actor, ids: &[MessageId]) -> Answer<Vec<(MessageId, String)>> {
        let seen = self.0.messages_of(actor, ids).await.map_err(host_error)?;
        let shown = seen.into_iter().map(|message| {
            let json = serde_json::to_string(&protocol::Message::from(&message));
            json.map(|json| (message.id, json))
                .map_err(|error| host_error(Error::Internal(error.to_string())))
        });
        shown.collect()
    }

    async fn post(
        &self,
        actor: &Actor,
        channel: ChannelId,
        content: &str,
        parent: Option<MessageId>,
        files: Vec<FileId>,
    ) -> Answer<Message> {
        let new = NewPost { content: content.to_owned(), parent_id: parent, file_ids: files, key: None };
        Ok(self.0.post_message(actor, channel, new).await.map_err(host_error)?.message)
    }

    async fn edit(&self, actor: &Actor, id: MessageId, content: &str) -> Answer<Message> {
        self.0.edit_message(actor, id, content.to_owned()).await.map_err(host_error)
    }

    async fn delete(&self, actor: &Actor, id: MessageId) -> Answer<()> {
        self.0.delete_message(actor, id).await.map_err(host_error)
    }
}

#[async_trait]
impl Channels for PluginHost {
    async fn get(&self, actor: &Actor, id: ChannelId) -> Answer<ChannelForViewer> {
        self.0.channel(actor, id).await.map_err(host_error)
    }

    async fn list(
        &self,
        actor: &Actor,
        after: Option<ChannelId>,
        limit: u32,
    ) -> Answer<Vec<ChannelForViewer>> {
        let after = after.map_or(0, |id| id.0);
        let page = PageRequest { after: Some(after), ..PageRequest::first(i64::from(limit)) };
        Ok(self.0.channels(actor, None, page).await.map_err(host_error)?.items)
    }

    async fn members(
        &self,
        actor: &Actor,
        id: ChannelId,
        after: Option<UserId>,
        limit: u32,
    ) -> Answer<Vec<UserId>> {
        let after = after.map_or(0, |id| id.0);
        let page = PageRequest { after: Some(after), ..PageRequest::first(i64::from(limit)) };
        let members = self.0.members(actor, id, page).await.map_err(host_error)?;
        Ok(members.items.into_iter().map(|member| member.user.id).collect())
    }
}

#[async_trait]
impl Users for PluginHost {
    async fn get(&self, actor: &Actor, id: UserId) -> Answer<User> {
        self.0.user(actor, id).await.map_err(host_error)
    }

    async fn find(&self, actor: &Actor, username: &str) -> Answer<User> {
        self.0.user_by_name(actor, username).await.map_err(host_error)
    }
}

#[async_trait]
impl Config for PluginHost {
    async fn value(&self, plugin: &str, key: &str) -> Answer<Option<serde_json::Value>> {
        self.0.plugin_value(plugin, key).await.map_err(host_error)
    }

    async fn secret(&self, plugin: &str, key: &str) -> Answer<Option<String>> {
        self.0.plugin_secret(plugin, key).await.map_err(host_error)
    }
}

#[async_trait]
impl Identity for PluginHost {
    async fn bot(&self, plugin: &str) -> Answer<Actor> {
        self.0.bot_of(plugin).await.map_err(host_error)
    }
}

#[async_trait]
impl Bots for PluginHost {
    async fn create(
        &self,
        actor: &Actor,
        plugin: &str,
        username: String,
        full_name: Option<String>,
    ) -> Answer<Bot> {
        self.0.create_bot(actor, plugin, username, full_name).await.map(bot).map_err(host_error)
    }

    async fn get(&self, actor: &Actor, plugin: &str, id: UserId) -> Answer<Bot> {
        self.0.bot(actor, plugin, id).await.map(bot).map_err(host_error)
    }

    async fn list(&self, actor: &Actor, plugin: &str, after: Option<UserId>, limit: u32) -> Answer<Vec<Bot>> {
        let found = self.0.bots(actor, plugin, after, limit).await.map_err(host_error)?;
        Ok(found.into_iter().map(bot).collect())
    }

    async fn update(
        &self,
        actor: &Actor,
        plugin: &str,
        id: UserId,
        full_name: Option<String>,
        is_active: Option<bool>,
    ) -> Answer<Bot> {
        let changes = BotChanges { full_name, is_active };
        self.0.update_bot(actor, plugin, id, changes).await.map(bot).map_err(host_error)
    }

    async fn delete(&self, actor: &Actor, plugin: &str, id: UserId) -> Answer<()> {
        self.0.delete_bot(actor, plugin, id).await.map_err(host_error)
    }

    async fn issue_token(
        &self,
        actor: &Actor,
        plugin: &str,
        id: UserId,
        scopes: Vec<String>,
    ) -> Answer<String> {
        self.0.issue_bot_token(actor, plugin, id, &scopes).await.map_err(host_error)
    }

    async fn join(&self, actor: &Actor, plugin: &str, id: UserId, channel: ChannelId) -> Answer<()> {
        self.0.join_bot(actor, plugin, id, channel).await.map_err(host_error)
    }

    async fn act_as(&self, plugin: &str, id: UserId) -> Answer<Actor> {
        self.0.act_as_bot(plugin, id).await.map_err(host_error)
    }
}

fn bot(row: BotRow) -> Bot {
    Bot {
        id: UserId(row.user_id),
        username: row.username,
        full_name: row.full_name,
        owner: row.owner_id.map(UserId),
        is_active: row.is_active,
        // One without a session has no token, whatever it once allowed.
        scopes: row
            .session_id
            .map_or_else(Vec::new, |_| row.scopes.split_whitespace().map(str::to_owned).collect()),
        created_at: Timestamp(row.created_at),
    }
}

#[async_trait]
impl Deployment for PluginHost {
    async fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn public_url(&self) -> String {
        self.0.public_url().to_owned()
    }
}

#[async_trait]
impl Keys for PluginHost {
    async fn derive(&self, plugin: &str, label: &str) -> Answer<Vec<u8>> {
        self.0.derive_key(plugin, label).await.map_err(host_error)
    }
}

#[async_trait]
impl Files for PluginHost {
    async fn get(&self, actor: &Actor, id: FileId) -> Answer<File> {
        self.0.file(actor, id).await.map_err(host_error)
    }

    async fn of_message(&self, actor: &Actor, message: MessageId) -> Answer<Vec<File>> {
        Ok(self.0.message(actor, message).await.map_err(host_error)?.files)
    }

    async fn read(&self, actor: &Actor, id: FileId, range: Range<u64>) -> Answer<Vec<u8>> {
        self.0.read_file(actor, id, range).await.map_err(host_error)
    }

    async fn create(&self, actor: &Actor, filename: &str, file_type: &str, content: Bytes) -> Answer<File> {
        let content = futures_util::stream::iter([Ok::<_, Infallible>(content)]);
        self.0.upload(actor, filename, Some(file_type), content).await.map_err(host_error)
    }
}

#[async_trait]
impl Presence for PluginHost {
    async fn get(&self, actor: &Actor, users: &[UserId]) -> Answer<Vec<Status>> {
        let visible = self.0.visible_statuses(actor, users).await.map_err(host_error)?;
        let chosen: HashMap<UserId, Status> = visible.into_iter().collect();
        let seen = |user: &UserId| {
            let chosen = chosen.get(user).copied().unwrap_or(Status::Offline);
            VisiblePresence::of(*user, chosen, None, self.1.contains(*user)).status
        };
        Ok(users.iter().map(seen).collect())
    }
}

#[async_trait]
impl Realtime for PluginHost {
    async fn signal(
        &self,
        plugin: &str,
        actor: &Actor,
        channel: ChannelId,
        kind: &str,
        json: &str,
    ) -> Answer<()> {
        self.0.signal(plugin, actor, channel, kind, json).await.map_err(host_error)
    }
}

#[async_trait]
impl Scheduler for PluginHost {
    async fn schedule(&self, plugin: &str, job: ScheduledJob) -> Answer<()> {
        self.0.schedule_job(plugin, job).await.map_err(host_error)
    }

    async fn cancel(&self, plugin: &str, id: &str) -> Answer<bool> {
        self.0.cancel_job(plugin, id).await.map_err(host_error)
    }

    async fn list(&self, plugin: &str, after: Option<&str>, limit: u32) -> Answer<Vec<ScheduledJob>> {
        self.0.scheduled_jobs(plugin, after, limit).await.map_err(host_error)
    }
}

#[async_trait]
impl HttpClient for PluginHost {
    async fn send(&self, plugin: &str, request: OutgoingRequest) -> Answer<IncomingAnswer> {
        self.0.send_request(plugin, request).await.map_err(host_error)
    }
}

/// What was found, as the API shows it.
fn found<T, J: serde::Serialize>(
    page: SearchPage<T>,
    id: impl Fn(&T) -> i64,
    shown: impl Fn(&T) -> J,
) -> Answer<SearchHits> {
    let mut hits = Vec::with_capacity(page.hits.len());
    for hit in page.hits {
        let json = serde_json::to_string(&shown(&hit.item))
            .map_err(|error| host_error(Error::Internal(error.to_string())))?;
        hits.push(SearchHit { id: id(&hit.item), score: hit.score, json, passage: hit.passage });
    }
    Ok(SearchHits { hits, next: page.next })
}

#[async_trait]
impl Search for PluginHost {
    async fn messages(&self, actor: &Actor, query: SearchQuery) -> Answer<SearchHits> {
        let page = self.0.search_messages(actor, query).await.map_err(host_error)?;
        found(page, |message| message.id.0, |message| protocol::Message::from(message))
    }

    async fn files(&self, actor: &Actor, query: SearchQuery) -> Answer<SearchHits> {
        let page = self.0.search_files(actor, query).await.map_err(host_error)?;
        found(page, |file| file.id.0, |file| protocol::File::from(file))
    }

    async fn channels(
        &self,
        actor: &Actor,
        text: &str,
        limit: u32,
        cursor: Option<&str>,
    ) -> Answer<SearchHits> {
        let page = self.0.search_channels(actor, text, i64::from(limit), cursor).await.map_err(host_error)?;
        found(page, |view| view.channel.id.0, |view| protocol::Channel::from(view))
    }

    async fn channels_named(&self, actor: &Actor, name: &str) -> Answer<Vec<ChannelId>> {
        self.0.channels_named(actor, name).await.map_err(host_error)
    }
}

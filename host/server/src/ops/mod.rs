//! The operations: everything that a client, a socket or a plugin can make the host do.
//!
//! Owns: every permission decision and every write. REST, gateway and plugin imports are thin doors that call
//! one function here. Must not: know HTTP, frames or WIT, or publish anything: an operation appends its events
//! to the journal, and delivery happens from there.

mod access;
mod accounts;
mod admin;
mod audit;
mod bot_users;
mod bots;
mod channels;
mod egress;
mod error;
mod files;
pub mod hooks;
mod invites;
mod jobs;
mod journal;
mod keys;
mod kv;
pub mod llm;
mod maintenance;
mod members;
mod messages;
mod pictures;
mod pins;
mod plugin_config;
pub mod plugins;
mod rates;
mod reactions;
mod replay;
mod search;
mod sessions;
mod signals;
mod uploads;
mod users;
pub mod vectors;
mod voice;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock},
};

use patchbay_store::{Page, Store};

use crate::{
    auth::passwords::Passwords, bus::Bus, config, egress::Egress, files::Files, key_file::KeyPlace,
    models::Models, plugin_log::PluginLog,
};

pub use accounts::Registration;
pub use admin::StandingChanges;
pub use audit::{Admin, AuditFilter};
pub use bot_users::BotChanges;
pub use channels::{ChannelChanges, NewChannel};
pub use error::{Error, Result, Thing};
pub use invites::Invitation;
pub use keys::reset as reset_keys;
pub use messages::NewPost;
pub use replay::{Replay, too_many_followed};
pub use search::{IndexState, PdfReader};
pub use sessions::{Caller, Device, LoggedIn};
pub use users::ProfileChanges;
pub use voice::Seat;

use keys::Keys;
use sessions::SessionCache;

/// Images decoded at the same time: each can take 256 MiB for a moment.
const MAX_DECODING: usize = 2;

/// The operations. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ops(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    bus: Bus,
    files: Files,
    passwords: Passwords,
    file_limits: config::Files,
    uploads: uploads::Places,
    /// Rung when bytes have been put down for removal.
    removals: tokio::sync::Notify,
    /// Images that are decoded at the same time; others wait for a while.
    decoding: Arc<tokio::sync::Semaphore>,
    keys: Keys,
    sessions: SessionCache,
    signals: signals::SignalRates,
    searches: search::Searches,
    egress: Egress,
    llm: llm::Llm,
    vectors: vectors::Vectors,
    auth: config::Auth,
    rates: Option<rates::Rates>,
    journal: config::Journal,
    hooks: hooks::Hooks,
    plugin_log: PluginLog,
    /// The rooms, on a server that runs and has voice.
    voice: OnceLock<patchbay_voice::Voice>,
    /// Rung when jobs have been scheduled.
    jobs_changed: tokio::sync::Notify,
    /// Makes an account superuser from anywhere; none once there is a superuser.
    bootstrap: Mutex<Option<String>>,
    public_url: String,
}

impl Ops {
    /// The operations on a database, whose signing key is made if there is none yet.
    ///
    /// # Errors
    /// If the database can't be read or written, or the master key is missing or wrong.
    pub async fn start(store: Store, files: Files, bus: Bus, config: &config::Config) -> Result<Self> {
        let keys = Keys::open(&store, KeyPlace::of(config), config.auth.access_ttl).await?;
        // Nobody but this server can have begun them, and it has just started.
        store
            .write::<_, Error, _>(|tx| Box::pin(async move { Ok(tx.delete_unfinished_files().await?) }))
            .await?;
        let has_superuser = store.read().await?.has_superuser().await?;
        // The same after a restart, and nowhere to be read.
        let bootstrap = (!has_superuser).then(|| keys.master().derive("bootstrap token", 18));
        let vectors = vectors::Vectors::open(&config.vectors, store.clone())?;
        let ops = Self(Arc::new(Inner {
            store,
            bus,
            files,
            passwords: Passwords::new()?,
            file_limits: config.files.clone(),
            uploads: uploads::Places::default(),
            removals: tokio::sync::Notify::new(),
            decoding: Arc::new(tokio::sync::Semaphore::new(MAX_DECODING)),
            keys,
            sessions: SessionCache::default(),
            signals: signals::SignalRates::default(),
            searches: search::Searches::default(),
            llm: llm::Llm::new(Models::new(&config.ai)),
            vectors,
            egress: Egress::new(config.egress.allow_private.clone()),
            auth: config.auth.clone(),
            rates: rates::Rates::new(&config.limits),
            journal: config.journal.clone(),
            hooks: hooks::Hooks::default(),
            plugin_log: PluginLog::default(),
            voice: OnceLock::new(),
            jobs_changed: tokio::sync::Notify::new(),
            bootstrap: Mutex::new(bootstrap),
            public_url: config.server.url(),
        }));
        ops.blend_logins().await?;
        Ok(ops)
    }

    /// Where clients reach the server, without a slash at the end.
    pub fn public_url(&self) -> &str {
        &self.0.public_url
    }

    /// What makes an account superuser from anywhere, while there is no superuser.
    pub fn bootstrap_token(&self) -> Option<String> {
        self.0.bootstrap.lock().ok()?.clone()
    }

    /// Counts a request by where it comes from. Every door asks before it does anything with a request.
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn admit(&self, from: &ClientAddress) -> Result<()> {
        self.0.rates.as_ref().map_or(Ok(()), |rates| rates.request(from.ip))
    }

    /// The last lines of each plugin.
    pub fn plugin_log(&self) -> &PluginLog {
        &self.0.plugin_log
    }

    /// Rung when jobs have been scheduled.
    fn jobs_changed(&self) -> &tokio::sync::Notify {
        &self.0.jobs_changed
    }

    /// Where plugins' hooks are put.
    pub fn hooks(&self) -> &hooks::Hooks {
        &self.0.hooks
    }

    /// The database, for those who read the journal.
    pub fn store(&self) -> &Store {
        &self.0.store
    }
}

/// Which page of a list ordered by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Only ids below this one.
    pub before: Option<i64>,
    /// Only ids above this one.
    pub after: Option<i64>,
    /// 1 to 200.
    pub limit: i64,
}

/// A page, in the list's own order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOf<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whether there are more in the direction of paging.
    pub has_more: bool,
}

/// Most items of a page.
pub const MAX_PAGE: i64 = 200;

impl PageRequest {
    /// The first page.
    pub fn first(limit: i64) -> Self {
        Self { before: None, after: None, limit }
    }

    /// What to ask of the store: one more than wanted, to see whether there are more.
    fn query(self) -> Page {
        Page { before: self.before, after: self.after, limit: self.limit + 1 }
    }

    /// Makes a page of what the store found, in an order that does not depend on the direction of paging.
    fn page<T>(self, mut found: Vec<T>, newest_first: bool) -> PageOf<T> {
        let limit = usize::try_from(self.limit).unwrap_or(0);
        let has_more = found.len() > limit;
        found.truncate(limit);
        let came_falling = self.after.is_none() && (newest_first || self.before.is_some());
        if came_falling != newest_first {
            found.reverse();
        }
        PageOf { items: found, has_more }
    }
}

/// Where a request came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client's, as far as it can be known: the peer's, or what a trusted proxy says.
    pub ip: IpAddr,
    /// Whether a proxy stands between or is said to: then nothing about the client is certain but that.
    pub forwarded: bool,
}

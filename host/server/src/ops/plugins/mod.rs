//! Which plugins serve, in which version, with which grants: installing, replacing, granting, disabling.
//!
//! Owns: the order of steps that lets the old version serve until the new one has proved itself. Must not: run
//! plugins (that is the runtime) or grant anything that no operator granted, except to what came with the host.

mod care;
mod change;
mod commands;
mod follow;
mod grants;
mod installed;
mod jobs;
mod letters;
pub mod limits;
mod observe;
mod retire;
mod serve;
mod settings;
pub mod signature;
mod start;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use patchbay_core::{Actor, MessageId, Timestamp};
use patchbay_runtime::{Decorations, Grants, Inspection, LoadError, Manifest, Plugin, Routed, Runtime};
use patchbay_store::{PluginRow, PluginVersionRow};
use serde_json::Map;

use super::{
    Admin, Error, Ops, Result, Thing, access::demand_superuser, audit::record, error::Faults, journal::emit,
    plugin_config::write_secrets, sessions::detached,
};
use crate::config;
use change::{Change, NewVersion, apply, new_row};
pub use change::{HookChanges, PluginChanges};
pub use commands::CommandError;
use follow::Followers;
use grants::{grants_of, missing, routes_beyond_prefix, shape};
pub use installed::{Installed, State};
pub use observe::Observed;
use settings::{Settings, config_required};
use signature::Signers;

/// Versions of a plugin that are kept, beside the one that serves, the one before it and the one that came with the host.
const KEPT_VERSIONS: i64 = 10;

/// The plugins of this deployment. Cheap to clone.
#[derive(Clone)]
pub struct Deployment(Arc<Inner>);

struct Inner {
    ops: Ops,
    runtime: Arc<Runtime>,
    declared: BTreeMap<String, config::Declared>,
    signers: Signers,
    native_paths: Vec<&'static str>,
    /// Changes are made one after the other.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Why an enabled plugin does not serve.
    failures: Mutex<BTreeMap<String, String>>,
    followers: Mutex<Followers>,
}

impl Deployment {
    /// The plugins of a deployment; none serves before [`Deployment::start`].
    pub fn new(
        ops: Ops,
        runtime: Runtime,
        config: &config::Plugins,
        native_paths: Vec<&'static str>,
    ) -> Self {
        Self(Arc::new(Inner {
            ops,
            runtime: Arc::new(runtime),
            declared: config.declared.clone(),
            signers: Signers::new(config),
            native_paths,
            changing: Arc::default(),
            failures: Mutex::default(),
            followers: Mutex::default(),
        }))
    }

    /// The installed plugins by name.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who isn't superuser.
    pub async fn list(&self, actor: &Actor) -> Result<Vec<Installed>> {
        demand_superuser(actor)?;
        let mut installed = Vec::new();
        for row in self.rows().await? {
            installed.push(self.describe(row).await?);
        }
        Ok(installed)
    }

    /// One installed plugin.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`].
    pub async fn get(&self, actor: &Actor, name: &str) -> Result<Installed> {
        demand_superuser(actor)?;
        let row = self.row(name).await?.ok_or(Error::NotFound(Thing::Plugin))?;
        self.describe(row).await
    }

    /// Installs a component or replaces the version that serves. A new plugin that wants what it has not been
    /// granted is kept and waits; a new version of one that serves is refused then. In every error the version
    /// that served before serves on. The flag says whether the plugin is new.
    ///
    /// # Errors
    /// [`Error::Forbidden`]; [`Error::Refused`] with what is wrong with the component or its signature, the text
    /// of a `.minisig` file; [`Error::Conflict`] with `managed_by_settings`.
    pub async fn put(
        &self,
        by: &Admin,
        name: &str,
        bytes: Bytes,
        signature: Option<&str>,
    ) -> Result<(Installed, bool)> {
        by.demand()?;
        let inspection = self.admit(name, &bytes)?;
        let signed_by = self.0.signers.check(&bytes, signature).await?;
        let digest = inspection.digest.clone();
        let turn = Arc::clone(&self.0.changing).lock_owned().await;
        if self.0.declared.get(name).is_some_and(|declared| declared.source.is_some()) {
            return Err(managed(name, "source"));
        }
        let before = self.row(name).await?;
        let is_new = before.is_none();
        let mut row = before.clone().unwrap_or_else(|| new_row(name, None, &Grants::default()));
        row.updated_at = Timestamp::now().0;
        let grants = grants_of(&row)?;
        let unmet = self.settings(&row).await?.unmet(&inspection.manifest);
        let is_incomplete = unmet.is_some() || !missing(&inspection.manifest, &grants).is_empty();
        let version = Some(NewVersion { inspection, bytes: bytes.clone(), signed_by });
        if row.active_digest.is_none() && is_incomplete {
            let change = Change { before, row: row.clone(), version, secrets: None, why: None };
            self.persist(change, by).await?;
            return Ok((self.describe(row).await?, is_new));
        }
        if let Some(why) = unmet.filter(|_| row.enabled) {
            return Err(config_required(why));
        }
        let mut before = before;
        if is_new && version.as_ref().is_some_and(|version| version.inspection.exports.contains("lifecycle"))
        {
            // It is told of its activation before it serves, and by then it must be somebody: with a bot, with jobs.
            let change =
                Change { before, row: row.clone(), version: version.clone(), secrets: None, why: None };
            self.persist(change, by).await?;
            before = Some(row.clone());
        }
        let enabled = row.enabled;
        let ready = if enabled {
            self.ready(&row, (&digest, bytes), &grants).await
        } else {
            // It is to run when it is enabled, and not before: not even its activation.
            self.0.runtime.prepare(bytes, &grants).await.map_err(refused)
        };
        let plugin = match ready {
            Err(error) if is_new && before.is_some() => {
                self.erase(by, name.to_owned()).await?;
                return Err(error);
            }
            ready => ready?,
        };
        replace_version(&mut row, &digest);
        let change = Change { before, row: row.clone(), version, secrets: None, why: None };
        self.switch(turn, enabled.then_some(plugin), change, by).await?;
        Ok((self.describe(row).await?, is_new))
    }

    /// Grants, revokes, enables, disables. With grants that suffice, a waiting plugin starts; grants that its
    /// version needs can't be taken from a plugin that serves: disable it first.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::Invalid`], [`Error::Refused`] if the plugin can't
    /// serve that way, [`Error::Conflict`] with `managed_by_settings`.
    pub async fn update(&self, by: &Admin, name: &str, changes: PluginChanges) -> Result<Installed> {
        by.demand()?;
        let turn = Arc::clone(&self.0.changing).lock_owned().await;
        if let Some(declared) = self.0.declared.get(name) {
            let both = [
                ("enabled", declared.enabled.is_some() && changes.enabled.is_some()),
                ("grants", declared.grants.is_some() && changes.grants.is_some()),
                ("routes", declared.routes.is_some() && changes.routes.is_some()),
            ];
            let set = changes.limits.iter().flatten().find(|(name, _)| declared.limits.contains_key(*name));
            if let Some((limit, _)) = set {
                return Err(managed(name, &format!("limits.{limit}")));
            }
            if let Some((key, _)) = both.into_iter().find(|(_, clash)| *clash) {
                return Err(managed(name, key));
            }
            let mut configured = changes.config.iter().flat_map(Map::keys);
            if let Some(key) = configured.find(|key| declared.config.contains_key(*key)) {
                return Err(managed(name, &format!("config.{key}")));
            }
        }
        check_changes(&changes, &self.0.native_paths)?;
        let before = self.row(name).await?.ok_or(Error::NotFound(Thing::Plugin))?;
        let mut row = before.clone();
        apply(&mut row, &changes)?;
        let grants = grants_of(&row)?;
        let (manifest, digest) = current(&row, &self.versions(name).await?)?;
        let mut settings = self.settings(&row).await?;
        let secrets = settings.change(&manifest, changes.config.clone().unwrap_or_default())?;
        row.config = settings.to_json();
        let unmet = settings.unmet(&manifest);
        let suffices = missing(&manifest, &grants).is_empty() && unmet.is_none();
        if row.active_digest.is_none() && suffices {
            row.active_digest = Some(digest.clone());
        }
        let is_active = self.0.runtime.active().iter().any(|active| active.name() == name);
        if let Some(why) =
            unmet.as_ref().filter(|_| row.enabled && (is_active || changes.enabled == Some(true)))
        {
            return Err(config_required(why.clone()));
        }
        let is_config_only = is_active && changes.is_config_only();
        let serves = row.enabled && row.active_digest.is_some() && unmet.is_none();
        let plugin = if serves && !is_config_only {
            let bytes = self.component(name, &digest).await?;
            Some(self.ready(&before, (&digest, bytes), &grants).await?)
        } else {
            None
        };
        // Last, since the keys can't be changed until it is written.
        let secrets = self.0.ops.seal_secrets(name, secrets).await?;
        let change = Change { before: Some(before), row: row.clone(), version: None, secrets, why: None };
        if is_config_only {
            // Plugins read it anew at each call.
            self.persist(change, by).await?;
        } else {
            self.switch(turn, plugin, change, by).await?;
        }
        self.describe(row).await
    }

    /// The atomic switch and its record: the new version serves first, and if that can't be written down, the
    /// old one is back. Runs to its end even if the caller goes away in between.
    async fn switch(
        &self,
        turn: tokio::sync::OwnedMutexGuard<()>,
        plugin: Option<Arc<Plugin>>,
        change: Change,
        by: &Admin,
    ) -> Result<()> {
        let (this, by) = (self.clone(), by.clone());
        detached(async move {
            let _turn = turn;
            let runtime = &this.0.runtime;
            let name = change.row.name.clone();
            let old = runtime.active().into_iter().find(|active| active.name() == name);
            let serve = |plugin: Option<Arc<Plugin>>| match plugin {
                Some(plugin) => runtime.activate(plugin).map_err(refused),
                None => {
                    runtime.deactivate(&name);
                    Ok(())
                }
            };
            let by_operator = change.why.is_none();
            let quarantined = change.row.quarantine.is_some();
            if let Some(plugin) = &plugin {
                plugin.set_quarantined(quarantined);
                let is_another = old.as_ref().is_some_and(|old| old.digest() != plugin.digest());
                if is_another && change.why.is_none() {
                    plugin.succeeds_another();
                }
            }
            serve(plugin)?;
            if let Err(error) = this.persist(change, &by).await {
                serve(old)?;
                return Err(error);
            }
            this.set_failure(&name, None);
            let attended = this.attend(&name).await;
            if let Err(error) = &attended {
                this.set_failure(&name, Some(format!("it serves, but without all that it needs: {error}")));
            }
            if by_operator {
                this.hurry(&name).await?;
            }
            attended
        })
        .await
    }

    /// Checks what needs no compiler: the manifest, its name, routes that are the host's own.
    fn admit(&self, name: &str, bytes: &[u8]) -> Result<Inspection> {
        let inspection = Runtime::inspect(bytes).map_err(refused)?;
        if inspection.manifest.name != name {
            return Err(Error::Refused(
                "name_mismatch".into(),
                format!("the component's manifest names it {:?}, not {name:?}", inspection.manifest.name),
            ));
        }
        for route in &inspection.manifest.routes {
            if self.0.native_paths.iter().any(|native| shape(native) == shape(&route.path)) {
                let why = format!("{} is the host's own", route.path);
                return Err(Error::Refused("route_conflict".into(), why));
            }
        }
        Ok(inspection)
    }

    /// What runs the plugins, for the doors that call them.
    pub fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    fn followers(&self) -> std::sync::MutexGuard<'_, Followers> {
        self.0.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the plugin for a request.
    pub fn route(&self, method: &http::Method, path: &str) -> Routed {
        self.0.runtime.route(method, path)
    }

    /// What plugins add to these messages for this viewer, who can read them.
    pub async fn decorate(&self, viewer: &Actor, messages: &[MessageId]) -> Decorations {
        if messages.is_empty() {
            return Decorations::default();
        }
        self.0.runtime.decorate(viewer, messages).await
    }

    async fn rows(&self) -> Result<Vec<PluginRow>> {
        Ok(self.0.ops.store().read().await?.plugins().await?)
    }

    async fn row(&self, name: &str) -> Result<Option<PluginRow>> {
        Ok(self.0.ops.store().read().await?.plugin(name).await?)
    }

    async fn versions(&self, name: &str) -> Result<Vec<PluginVersionRow>> {
        Ok(self.0.ops.store().read().await?.plugin_versions(name).await?)
    }

    async fn settings(&self, row: &PluginRow) -> Result<Settings> {
        Settings::read(&mut self.0.ops.store().read().await?, row).await
    }

    async fn component(&self, name: &str, digest: &str) -> Result<Bytes> {
        let bytes = self.0.ops.store().read().await?.plugin_component(name, digest).await?;
        bytes.map(Bytes::from).ok_or_else(|| Error::Internal(format!("version {digest} of {name} is gone")))
    }

    async fn persist(&self, change: Change, by: &Admin) -> Result<()> {
        let by = by.clone();
        self.0
            .ops
            .store()
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    let now = Timestamp::now();
                    if let Some((action, detail)) = change.act() {
                        record(tx, &by, action, format!("plugin:{}", change.row.name), detail, now).await?;
                    }
                    tx.put_plugin(&change.row).await?;
                    tx.set_plugin_config(&change.row.name, &change.row.config).await?;
                    if let Some(secrets) = &change.secrets {
                        write_secrets(tx, &change.row.name, secrets).await?;
                    }
                    if let Some(NewVersion { inspection, bytes, signed_by }) = change.version {
                        let number = inspection.manifest.version.to_string();
                        let (name, digest, toml) =
                            (&change.row.name, &inspection.digest, &inspection.manifest_toml);
                        let by = by.actor.user_id();
                        tx.insert_plugin_version(
                            name,
                            digest,
                            &number,
                            toml,
                            &bytes,
                            by,
                            signed_by.as_deref(),
                            now,
                        )
                        .await?;
                        let needed = [
                            &change.row.active_digest,
                            &change.row.previous_digest,
                            &change.row.bundled_digest,
                        ];
                        let needed: Vec<_> = needed.into_iter().flatten().map(String::as_str).collect();
                        tx.forget_plugin_versions(name, KEPT_VERSIONS, &needed).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_failure(&self, name: &str, reason: Option<String>) {
        match reason {
            Some(reason) => self.failures().insert(name.to_owned(), reason),
            None => self.failures().remove(name),
        };
    }
}

/// A version takes the place of the one that served, which is the one to go back to. Whatever it was in quarantine for was
/// the other one's doing.
fn replace_version(row: &mut PluginRow, digest: &str) {
    let old = row.active_digest.replace(digest.to_owned());
    if old.as_deref() != Some(digest) {
        row.previous_digest = old;
    }
    row.quarantine = None;
}

/// Manifest and digest of the version that serves, or of the newest one while none does.
fn current(row: &PluginRow, versions: &[PluginVersionRow]) -> Result<(Manifest, String)> {
    let active = versions.iter().find(|version| Some(&version.digest) == row.active_digest.as_ref());
    let version = active.or(versions.first()).ok_or(Error::NotFound(Thing::Plugin))?;
    let manifest = Manifest::parse(&version.manifest)
        .map_err(|error| Error::Internal(format!("the manifest of {}: {error}", row.name)))?;
    Ok((manifest, version.digest.clone()))
}

fn refused(error: LoadError) -> Error {
    match error {
        LoadError::Cache(_) => Error::Internal(error.to_string()),
        other => Error::Refused(other.code().to_owned(), other.to_string()),
    }
}

fn managed(name: &str, key: &str) -> Error {
    Error::Conflict(
        "managed_by_settings",
        format!("plugins.{name}.{key} is set in the settings; change it there"),
    )
}

/// A grant of what doesn't exist would be a typing error now and a surprise later.
fn check_changes(changes: &PluginChanges, native_paths: &[&str]) -> Result<()> {
    let mut faults = Faults::default();
    for (at, grant) in changes.grants.iter().flatten().enumerate() {
        if !patchbay_runtime::capabilities::is_grantable(grant) {
            let known = patchbay_runtime::capabilities::names().collect::<Vec<_>>().join(", ");
            faults.push(&format!("grants[{at}]"), "unknown", format!("is not one of {known}, egress:HOST"));
        }
    }
    for (at, route) in changes.routes.iter().flatten().enumerate() {
        if !route.starts_with("/api/") || native_paths.iter().any(|native| shape(native) == shape(route)) {
            let why = "must be a path below /api/ that is not the host's own";
            faults.push(&format!("routes[{at}]"), "not_grantable", why);
        }
    }
    if let Some(changes) = &changes.limits {
        limits::check(changes, &mut faults);
    }
    faults.into_result()
}

//! What happens to plugins when the server starts: those that came with the host and those that the settings
//! declare are taken in, and every enabled one is started.

use std::{collections::HashSet, path::Path};

use bytes::Bytes;
use patchbay_runtime::{Grants, Inspection, Runtime};
use patchbay_store::PluginRow;

use super::{
    Admin, Deployment, Error, PluginChanges, Result, Thing, apply,
    change::{Change, NewVersion},
    check_changes, current,
    grants::{grants_of, routes_beyond_prefix, set_grants},
    new_row, refused, replace_version, settings,
    settings::config_required,
};
use crate::config;

impl Deployment {
    /// Takes in what came with the host and what the settings declare, and starts every enabled plugin. A
    /// plugin that can't be started is logged and shown; it doesn't keep the server from starting.
    ///
    /// # Errors
    /// If the database can't be read or written, or a declared file can't be read.
    pub async fn start(&self, bundled: Option<&Path>) -> Result<()> {
        for path in bundled.map(components_in).unwrap_or_default() {
            let bytes = read(&path)?;
            let inspection = Runtime::inspect(&bytes).map_err(|error| {
                Error::Internal(format!("the bundled plugin {} is broken: {error}", path.display()))
            })?;
            self.take_in_bundled(inspection, bytes).await?;
        }
        for (name, declared) in &self.0.declared {
            if let Err(error) = self.take_in_declared(name, declared).await {
                tracing::error!(plugin = %name, %error, "the declared plugin could not be installed");
                self.set_failure(name, Some(error.to_string()));
            }
        }
        let rows = self.rows().await?;
        let mut digests = HashSet::new();
        for row in &rows {
            digests.extend(self.versions(&row.name).await?.into_iter().map(|version| version.digest));
        }
        if let Err(error) = self.0.runtime.keep_only(&digests) {
            tracing::warn!(%error, "the cache of compiled plugins could not be tidied");
        }
        for row in rows {
            if row.enabled
                && let Some(digest) = &row.active_digest
            {
                match self.activate(&row, digest).await {
                    Ok(()) => self.set_failure(&row.name, None),
                    Err(error) => {
                        tracing::error!(plugin = %row.name, %error, "the plugin does not start");
                        self.set_failure(&row.name, Some(error.to_string()));
                        self.fall_back(row, error.to_string()).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What came with the host has what it asks for; an operator's later choices stay.
    async fn take_in_bundled(&self, inspection: Inspection, bytes: Bytes) -> Result<()> {
        let name = inspection.manifest.name.clone();
        let wanted = Grants {
            capabilities: inspection.manifest.wanted(),
            routes: routes_beyond_prefix(&inspection.manifest),
            ..Grants::default()
        };
        let before = self.row(&name).await?;
        let row = match before.clone() {
            None => PluginRow {
                enabled: inspection.manifest.autostart,
                ..new_row(&name, Some(inspection.digest.clone()), &wanted)
            },
            Some(row) if row.bundled_digest.as_deref() == Some(&inspection.digest) => return Ok(()),
            Some(mut row) => {
                if row.active_digest.is_some() && row.active_digest == row.bundled_digest {
                    // The operator runs what came with the host: so does the next release, with what is new.
                    let mut grants = grants_of(&row)?;
                    let (old, _) = current(&row, &self.versions(&name).await?)?;
                    let old_wanted = old.wanted();
                    grants.capabilities.extend(wanted.capabilities.difference(&old_wanted).cloned());
                    let had = routes_beyond_prefix(&old);
                    grants.routes.extend(wanted.routes.into_iter().filter(|r| !had.contains(r)));
                    set_grants(&mut row, &grants);
                    replace_version(&mut row, &inspection.digest);
                }
                row
            }
        };
        let version = NewVersion { inspection, bytes, signed_by: None };
        let row = PluginRow { bundled_digest: Some(version.inspection.digest.clone()), ..row };
        let change = Change { before, row, version: Some(version), secrets: None, why: None };
        self.persist(change, &Admin::operator()).await
    }

    async fn take_in_declared(&self, name: &str, declared: &config::Declared) -> Result<()> {
        let before = self.row(name).await?;
        let mut row = before.clone();
        let mut version = None;
        if let Some(source) = &declared.source {
            let bytes = read(source)?;
            let inspection = self.admit(name, &bytes)?;
            let signed_by = self.0.signers.check(&bytes, signature_beside(source)?.as_deref()).await?;
            let mut new = row.take().unwrap_or_else(|| new_row(name, None, &Grants::default()));
            if new.active_digest.as_ref() != Some(&inspection.digest) {
                replace_version(&mut new, &inspection.digest);
            }
            row = Some(new);
            version = Some(NewVersion { inspection, bytes, signed_by });
        }
        let mut row = row.ok_or(Error::NotFound(Thing::Plugin))?;
        let changes = PluginChanges {
            enabled: declared.enabled,
            grants: declared.grants.clone(),
            routes: declared.routes.clone(),
            config: None,
            hooks: None,
            limits: Some(declared.limits.iter().map(|(name, value)| (name.clone(), Some(*value))).collect()),
        };
        check_changes(&changes, &self.0.native_paths)?;
        let quarantine = row.quarantine.clone();
        apply(&mut row, &changes)?;
        // A file that says the same at each start is nobody who has looked at it.
        row.quarantine = quarantine;
        let manifest = match &version {
            Some(version) => version.inspection.manifest.clone(),
            None => current(&row, &self.versions(name).await?)?.0,
        };
        let mut settings = self.settings(&row).await?;
        let secrets = settings
            .change(&manifest, settings::declared(&manifest, &declared.config))
            .map_err(|error| told(name, error))?;
        row.config = settings.to_json();
        let secrets = self.0.ops.seal_secrets(name, secrets).await?;
        self.persist(Change { before, row, version, secrets, why: None }, &Admin::operator()).await
    }

    /// To the version that served before an upgrade that came with the server or its settings.
    async fn fall_back(&self, before: PluginRow, why: String) -> Result<()> {
        let Some(previous) = before.previous_digest.clone() else { return Ok(()) };
        let mut row = before.clone();
        replace_version(&mut row, &previous);
        row.previous_digest = None;
        if let Err(error) = self.activate(&row, &previous).await {
            tracing::error!(plugin = %row.name, %error, "nor does the version before");
            return Ok(());
        }
        self.set_failure(&row.name, None);
        let change = Change { before: Some(before), row, version: None, secrets: None, why: Some(why) };
        self.persist(change, &Admin::operator()).await
    }

    async fn activate(&self, row: &PluginRow, digest: &str) -> Result<()> {
        let (manifest, _) = current(row, &self.versions(&row.name).await?)?;
        if let Some(why) = self.settings(row).await?.unmet(&manifest) {
            return Err(config_required(format!("config_required: {why}")));
        }
        let bytes = self.component(&row.name, digest).await?;
        let plugin = self.ready(row, (digest, bytes), &grants_of(row)?).await?;
        plugin.set_quarantined(row.quarantine.is_some());
        self.0.runtime.activate(plugin).map_err(refused)?;
        self.attend(&row.name).await
    }
}

/// Which settings are wrong: nobody sees the fields of an error of a start.
fn told(plugin: &str, error: Error) -> Error {
    match error {
        Error::Invalid(faults) => {
            let faults =
                faults.iter().map(|fault| format!("plugins.{plugin}.{} {}", fault.field, fault.message));
            Error::Internal(faults.collect::<Vec<_>>().join("; "))
        }
        other => other,
    }
}

fn read(path: &Path) -> Result<Bytes> {
    std::fs::read(path)
        .map(Bytes::from)
        .map_err(|error| Error::Internal(format!("{}: {error}", path.display())))
}

/// The text of `NAME.wasm.minisig` beside `NAME.wasm`, if it is there.
fn signature_beside(component: &Path) -> Result<Option<String>> {
    let mut path = component.as_os_str().to_owned();
    path.push(".minisig");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::Internal(format!("{}: {error}", Path::new(&path).display()))),
    }
}

/// The components in a directory, by name.
fn components_in(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    paths.sort();
    paths
}

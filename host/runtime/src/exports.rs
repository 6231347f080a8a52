//! The exports of the contract that a component has, each bound by itself.
//!
//! Owns: finding them. Must not: call them.

use wasmtime::{
    Store,
    component::{Instance, InstancePre},
};

use crate::{
    LoadError,
    bindings::{
        CommandHelpPluginIndices, CommandsPluginIndices, DecoratorPluginIndices, EventsPluginIndices,
        HooksPluginIndices, HttpPluginIndices, JobsPluginIndices, LifecyclePluginIndices,
    },
    inspect::Inspection,
    state::CallState,
};

/// Where each export is in an instance.
#[derive(Default)]
pub(crate) struct Exports {
    pub(crate) http: Option<HttpPluginIndices>,
    pub(crate) decorator: Option<DecoratorPluginIndices>,
    pub(crate) events: Option<EventsPluginIndices>,
    pub(crate) hooks: Option<HooksPluginIndices>,
    pub(crate) commands: Option<CommandsPluginIndices>,
    pub(crate) command_help: Option<CommandHelpPluginIndices>,
    pub(crate) jobs: Option<JobsPluginIndices>,
    pub(crate) lifecycle: Option<LifecyclePluginIndices>,
}

fn mismatch(error: wasmtime::Error) -> LoadError {
    LoadError::ExportMismatch(format!("{error:#}"))
}

impl Exports {
    /// Those of a component. The inspection saw their names; their indices exist only if they are instances with the
    /// right functions.
    pub(crate) fn of(pre: &InstancePre<CallState>, inspection: &Inspection) -> Result<Self, LoadError> {
        let mut exports = Self::default();
        for name in &inspection.exports {
            match name.as_str() {
                "http" => exports.http = Some(HttpPluginIndices::new(pre).map_err(mismatch)?),
                "decorator" => exports.decorator = Some(DecoratorPluginIndices::new(pre).map_err(mismatch)?),
                "events" => exports.events = Some(EventsPluginIndices::new(pre).map_err(mismatch)?),
                "hooks" => exports.hooks = Some(HooksPluginIndices::new(pre).map_err(mismatch)?),
                "commands" => exports.commands = Some(CommandsPluginIndices::new(pre).map_err(mismatch)?),
                "command-help" => {
                    exports.command_help = Some(CommandHelpPluginIndices::new(pre).map_err(mismatch)?);
                }
                "jobs" => exports.jobs = Some(JobsPluginIndices::new(pre).map_err(mismatch)?),
                "lifecycle" => exports.lifecycle = Some(LifecyclePluginIndices::new(pre).map_err(mismatch)?),
                other => {
                    return Err(LoadError::ExportMismatch(format!(
                        "this host does not know the export {other}"
                    )));
                }
            }
        }
        Ok(exports)
    }

    /// Binds all of them in an instance, which fails if one has a function of another type.
    pub(crate) fn try_all(&self, store: &mut Store<CallState>, instance: &Instance) -> Result<(), LoadError> {
        let Self { http, decorator, events, hooks, commands, command_help, jobs, lifecycle } = self;
        http.as_ref().map(|export| export.load(&mut *store, instance)).transpose().map_err(mismatch)?;
        decorator.as_ref().map(|export| export.load(&mut *store, instance)).transpose().map_err(mismatch)?;
        events.as_ref().map(|export| export.load(&mut *store, instance)).transpose().map_err(mismatch)?;
        hooks.as_ref().map(|export| export.load(&mut *store, instance)).transpose().map_err(mismatch)?;
        commands.as_ref().map(|export| export.load(&mut *store, instance)).transpose().map_err(mismatch)?;
        command_help
            .as_ref()
            .map(|export| export.load(&mut *store, instance))
            .transpose()
            .map_err(mismatch)?;
        jobs.as_ref().map(|export| export.load(&mut *store, instance)).transpose().map_err(mismatch)?;
        lifecycle.as_ref().map(|export| export.load(&mut *store, instance)).transpose().map_err(mismatch)?;
        Ok(())
    }
}

/// What to do about an export that isn't there.
const FORGOTTEN: &str = "name it in `register!` (Rust) or in the world that the component is built for, or take it out of the \
                         manifest";

/// The manifest names what has an export, and what is exported is named where calling it depends on the manifest.
pub(crate) fn check(inspection: &Inspection) -> Result<(), LoadError> {
    let manifest = &inspection.manifest;
    let pairs = [
        ("http", "routes", !manifest.routes.is_empty()),
        ("events", "events", !manifest.events.is_empty()),
        ("hooks", "hooks", !manifest.hooks.is_empty()),
        ("commands", "commands", !manifest.commands.is_empty()),
    ];
    for (export, field, named) in pairs {
        match (inspection.exports.contains(export), named) {
            (false, true) => {
                return Err(LoadError::ExportMismatch(format!(
                    "the manifest has {field} but there is no export {export}; {FORGOTTEN}"
                )));
            }
            (true, false) if export == "commands" && inspection.exports.contains("command-help") => {}
            (true, false) if export != "http" => {
                return Err(LoadError::ManifestInvalid(format!(
                    "the component exports {export}, which is never called without `{field}` in the manifest"
                )));
            }
            _ => {}
        }
    }
    if !manifest.jobs.is_empty() && !inspection.exports.contains("jobs") {
        let what = format!("the manifest has jobs but there is no export jobs; {FORGOTTEN}");
        return Err(LoadError::ExportMismatch(what));
    }
    if inspection.exports.contains("command-help") && !inspection.exports.contains("commands") {
        let what = format!("the component exports command-help but not commands; {FORGOTTEN}");
        return Err(LoadError::ExportMismatch(what));
    }
    if !manifest.hooks.is_empty() && !manifest.capabilities.contains("hooks") {
        return Err(LoadError::CapabilityUndeclared("hooks".to_owned()));
    }
    Ok(())
}

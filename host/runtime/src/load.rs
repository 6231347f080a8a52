//! From bytes to a plugin that can be called: check, compile, link what was granted, try once.
//!
//! Owns: the compiler, the cache of compiled code and the [`Plugin`]. Must not: activate anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::{
    LoadError, cache,
    call::limit_reached,
    capabilities,
    exports::{self, Exports},
    fragment::Fragment,
    health::Health,
    inspect,
    inspect::Inspection,
    limits::{self, Limits},
    manifest::{Manifest, shape},
    permits::Permits,
    reuse::Reuse,
    state::{CallState, link_free},
    stats::Stats,
    wasi,
};

/// What the operator allows a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Names of capabilities.
    pub capabilities: BTreeSet<String>,
    /// Path templates outside `/api/plugins/{name}/`; their parameters' names don't matter.
    pub routes: Vec<String>,
    /// How much of everything.
    pub limits: Limits,
}

/// A version of a plugin, compiled, linked and ready to be called.
pub struct Plugin {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) openapi: Option<Fragment>,
    pub(crate) digest: String,
    pub(crate) name: Arc<str>,
    pub(crate) grants: Grants,
    pub(crate) limits: Limits,
    pub(crate) permits: Permits,
    pub(crate) hook_permits: Permits,
    pub(crate) pre: InstancePre<CallState>,
    pub(crate) exports: Exports,
    pub(crate) reuse: Arc<Reuse>,
    pub(crate) stats: Arc<Stats>,
    health: Mutex<Health>,
    quarantined: AtomicBool,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plugin({} {} {})", self.name, self.manifest.version, self.digest)
    }
}

impl Plugin {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it says of its routes, for people and programs.
    pub fn openapi(&self) -> Option<&Fragment> {
        self.openapi.as_ref()
    }

    /// SHA-256 of the component's bytes, lower-case hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What it was granted when it was loaded.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The limits that its calls run under.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether it adds something to messages.
    pub fn decorates(&self) -> bool {
        self.exports.decorator.is_some()
    }

    /// Whether it follows events.
    pub fn follows_events(&self) -> bool {
        self.exports.events.is_some()
    }

    /// Whether it has jobs.
    pub fn works(&self) -> bool {
        self.exports.jobs.is_some()
    }

    /// Whether it helps to type commands, and may have others than its manifest's.
    pub fn helps_with_commands(&self) -> bool {
        self.exports.command_help.is_some()
    }

    /// Whether it wants to know of its own changes.
    pub fn has_lifecycle(&self) -> bool {
        self.exports.lifecycle.is_some()
    }

    /// Whether it acts without a caller, so that it needs a user of its own.
    pub fn acts_alone(&self) -> bool {
        self.follows_events() || self.exports.jobs.is_some() || self.exports.commands.is_some()
    }

    /// What was counted of it, its earlier versions included.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Calls that wait for their turn.
    pub fn waiting_calls(&self) -> u32 {
        self.permits.waiting() + self.hook_permits.waiting()
    }

    /// It must not be called any more, or may be again.
    pub fn set_quarantined(&self, quarantined: bool) {
        self.quarantined.store(quarantined, Ordering::Relaxed);
    }

    /// Whether it is kept from being called.
    pub fn is_quarantined(&self) -> bool {
        self.quarantined.load(Ordering::Relaxed)
    }

    /// It takes the place of a version that worked: it is watched more closely for a while.
    pub fn succeeds_another(&self) {
        self.health().succeeds(std::time::Instant::now());
    }

    /// Whether it has taken the place of a version that worked a short while ago.
    pub fn is_successor(&self) -> bool {
        self.health().is_new(std::time::Instant::now())
    }

    pub(crate) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new(
        inspection: Inspection,
        grants: Grants,
        (permits, hook_permits): (Permits, Permits),
        pre: InstancePre<CallState>,
        exports: Exports,
        reuse: Arc<Reuse>,
        stats: Arc<Stats>,
    ) -> Self {
        let Inspection { manifest, openapi, digest, .. } = inspection;
        let name = Arc::from(manifest.name.as_str());
        Self {
            manifest: Arc::new(manifest),
            openapi,
            digest,
            name,
            limits: grants.limits.clone(),
            grants,
            permits,
            hook_permits,
            pre,
            exports,
            reuse,
            stats,
            health: Mutex::new(Health::new()),
            quarantined: AtomicBool::new(false),
        }
    }
}

/// Checks a component against what was granted. Costs no compiler.
pub(crate) fn check_grants(inspection: &Inspection, grants: &Grants) -> Result<(), LoadError> {
    let egress = inspection.manifest.egress.iter().map(|host| format!("egress:{host}"));
    let wanted: BTreeSet<_> = inspection.wanted.iter().cloned().chain(egress).collect();
    let missing: Vec<_> = wanted.difference(&grants.capabilities).cloned().collect();
    if !missing.is_empty() {
        return Err(LoadError::CapabilityNotGranted(missing));
    }
    let manifest = &inspection.manifest;
    let granted: BTreeSet<_> = grants.routes.iter().map(|path| shape(path)).collect();
    let outside = manifest.routes.iter().filter(|route| !manifest.owns_path(&route.path));
    let missing: BTreeSet<_> =
        outside.filter(|route| !granted.contains(&route.shape())).map(|route| route.path.clone()).collect();
    if !missing.is_empty() {
        return Err(LoadError::RouteNotGranted(missing.into_iter().collect()));
    }
    check_own_routes(manifest)?;
    exports::check(inspection)?;
    if !manifest.hooks.is_empty() && !grants.capabilities.contains("hooks") {
        return Err(LoadError::CapabilityNotGranted(vec!["hooks".to_owned()]));
    }
    Ok(())
}

/// No method and path twice within one manifest.
fn check_own_routes(manifest: &Manifest) -> Result<(), LoadError> {
    let mut seen = BTreeMap::new();
    for route in &manifest.routes {
        for method in &route.methods {
            if seen.insert((route.shape(), method.as_str()), ()).is_some() {
                let what = format!("{method} {} is there twice", route.path);
                return Err(LoadError::ManifestInvalid(what));
            }
        }
    }
    Ok(())
}

/// Compiles or takes from the cache, and checks that the pool can hold it.
pub(crate) async fn compile(
    engine: &wasmtime::Engine,
    cache: &cache::Cache,
    digest: &str,
    bytes: Bytes,
    limits: &Limits,
) -> Result<Component, LoadError> {
    let component = cache.component(engine, digest, bytes).await?;
    let Some(required) = component.resources_required() else {
        return Err(LoadError::ResourcesExceeded("it takes core modules as imports".to_owned()));
    };
    let initial = required.max_initial_memory_size.unwrap_or_default();
    if initial > limits.memory_bytes as u64 {
        let what = format!("its memory starts with {initial} bytes; a call has {}", limits.memory_bytes);
        return Err(LoadError::ResourcesExceeded(what));
    }
    Ok(component)
}

/// Links the free interfaces and the granted ones. What isn't linked can't be instantiated; nothing is ever
/// linked to a stub.
pub(crate) fn link(
    component: &Component,
    wanted: &BTreeSet<String>,
    grants: &Grants,
) -> Result<InstancePre<CallState>, LoadError> {
    let mismatch = |error: wasmtime::Error| LoadError::ImportMismatch(format!("{error:#}"));
    let mut linker = Linker::new(component.engine());
    link_free(&mut linker).map_err(mismatch)?;
    let engine = component.engine();
    if component.component_type().imports(engine).any(|(name, _)| wasi::is_free(name)) {
        wasi::link(&mut linker).map_err(mismatch)?;
    }
    for capability in capabilities::ALL {
        if wanted.contains(capability.name) && grants.capabilities.contains(capability.name) {
            (capability.link)(&mut linker).map_err(mismatch)?;
        }
    }
    linker.instantiate_pre(component).map_err(mismatch)
}

/// What a failed trial instance means for whoever loads the plugin.
pub(crate) fn start_failed(error: &wasmtime::Error) -> LoadError {
    match limit_reached(error) {
        Some(limit) => LoadError::ResourcesExceeded(limit),
        None => LoadError::StartFailed(format!("{error:#}")),
    }
}

/// Inspects and checks: everything that can be refused without compiling.
pub(crate) fn admit(bytes: &[u8], grants: &Grants) -> Result<Inspection, LoadError> {
    let inspection = inspect::inspect(bytes)?;
    check_grants(&inspection, grants)?;
    Ok(inspection)
}

const _: () = assert!(limits::WASM_STACK_BYTES < limits::CALL_STACK_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    fn inspection(routes: &str, wanted: &[&str]) -> Inspection {
        let manifest = format!("name = \"demo\"\nversion = \"1.0.0\"\n{routes}");
        Inspection {
            manifest: Manifest::parse(&manifest).unwrap(),
            openapi: None,
            manifest_toml: String::new(),
            digest: String::new(),
            wanted: wanted.iter().map(|name| (*name).to_owned()).collect(),
            exports: BTreeSet::from(["http".to_owned()]),
        }
    }

    fn route(path: &str) -> String {
        format!("[[routes]]\nmethod = \"GET\"\npath = \"{path}\"\nauth = \"none\"\n")
    }

    #[test]
    fn what_is_not_granted_is_refused_by_name() {
        let wants = inspection("", &["kv", "users"]);
        let grants = Grants { capabilities: BTreeSet::from(["kv".to_owned()]), ..Grants::default() };
        let refused = check_grants(&wants, &grants).unwrap_err();
        assert_eq!(refused, LoadError::CapabilityNotGranted(vec!["users".to_owned()]));
    }

    #[test]
    fn routes_outside_need_a_grant_of_their_shape() {
        let own = inspection(&route("/api/plugins/demo/{x}"), &[]);
        assert_eq!(check_grants(&own, &Grants::default()), Ok(()));
        let outside = inspection(&route("/api/things/{x}"), &[]);
        assert_eq!(check_grants(&outside, &Grants::default()).unwrap_err().code(), "route_not_granted");
        let grants = |path: &str| Grants { routes: vec![path.to_owned()], ..Grants::default() };
        assert_eq!(check_grants(&outside, &grants("/api/things/{y}")), Ok(()));
        assert!(check_grants(&outside, &grants("/api/things")).is_err());
        let neighbour = inspection(&route("/api/plugins/demo2/x"), &[]);
        assert!(check_grants(&neighbour, &Grants::default()).is_err());
    }

    #[test]
    fn the_same_route_twice_is_refused() {
        let twice = [route("/api/plugins/demo/{x}"), route("/api/plugins/demo/{y}")].concat();
        assert_eq!(
            check_grants(&inspection(&twice, &[]), &Grants::default()).unwrap_err().code(),
            "manifest_invalid"
        );
    }
}

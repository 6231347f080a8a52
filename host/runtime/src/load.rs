//! From bytes to a plugin that can be called: check, compile, link what was granted, try once.
//!
//! Owns: the compiler, the cache of compiled code and the [`Plugin`]. Must not: activate anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::{
    LoadError,
    bindings::{DecoratorPluginIndices, HttpPluginIndices},
    cache,
    call::limit_reached,
    capabilities,
    fragment::Fragment,
    inspect,
    inspect::Inspection,
    limits::{self, Limits},
    manifest::{Manifest, shape},
    permits::Permits,
    state::{CallState, link_free},
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
    pub(crate) manifest: Manifest,
    pub(crate) openapi: Option<Fragment>,
    pub(crate) digest: String,
    pub(crate) name: Arc<str>,
    pub(crate) limits: Limits,
    pub(crate) permits: Permits,
    pub(crate) pre: InstancePre<CallState>,
    pub(crate) http: Option<HttpPluginIndices>,
    pub(crate) decorator: Option<DecoratorPluginIndices>,
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

    /// The limits that its calls run under.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether it adds something to messages.
    pub fn decorates(&self) -> bool {
        self.decorator.is_some()
    }
}

/// Checks a component against what was granted. Costs no compiler.
pub(crate) fn check_grants(inspection: &Inspection, grants: &Grants) -> Result<(), LoadError> {
    let missing: Vec<_> = inspection.wanted.difference(&grants.capabilities).cloned().collect();
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
    if !manifest.routes.is_empty() && !inspection.exports.contains("http") {
        return Err(LoadError::ExportMismatch(
            "the manifest has routes but there is no export http".to_owned(),
        ));
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
    for capability in capabilities::ALL {
        if wanted.contains(capability.name) && grants.capabilities.contains(capability.name) {
            (capability.link)(&mut linker).map_err(mismatch)?;
        }
    }
    linker.instantiate_pre(component).map_err(mismatch)
}

/// The exports of the contract that a component has. The inspection saw their names; their indices exist only
/// if they are instances with the right functions.
pub(crate) fn exports(
    pre: &InstancePre<CallState>,
    inspection: &Inspection,
) -> Result<(Option<HttpPluginIndices>, Option<DecoratorPluginIndices>), LoadError> {
    let mismatch = |error: wasmtime::Error| LoadError::ExportMismatch(format!("{error:#}"));
    let (mut http, mut decorator) = (None, None);
    for name in &inspection.exports {
        match name.as_str() {
            "http" => http = Some(HttpPluginIndices::new(pre).map_err(mismatch)?),
            "decorator" => decorator = Some(DecoratorPluginIndices::new(pre).map_err(mismatch)?),
            other => {
                return Err(LoadError::ExportMismatch(format!("this host does not know the export {other}")));
            }
        }
    }
    Ok((http, decorator))
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

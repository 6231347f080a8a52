//! What a manifest asks for and what an operator has granted. Pure but for the row's text.

use patchbay_runtime::{Grants, Manifest};
use patchbay_store::PluginRow;

use super::{Error, Result};

pub(super) fn set_grants(row: &mut PluginRow, grants: &Grants) {
    // Lists of strings always serialise.
    row.capabilities = serde_json::to_string(&grants.capabilities).unwrap_or_default();
    row.routes = serde_json::to_string(&grants.routes).unwrap_or_default();
}

pub(super) fn grants_of(row: &PluginRow) -> Result<Grants> {
    let wrong = |error: serde_json::Error| Error::Internal(format!("grants of {}: {error}", row.name));
    Ok(Grants {
        limits: super::limits::limits_of(&row.limits),
        capabilities: serde_json::from_str(&row.capabilities).map_err(wrong)?,
        routes: serde_json::from_str(&row.routes).map_err(wrong)?,
    })
}

pub(super) fn routes_beyond_prefix(manifest: &Manifest) -> Vec<String> {
    let mut paths: Vec<String> = manifest
        .routes
        .iter()
        .map(|route| route.path.clone())
        .filter(|path| !manifest.owns_path(path))
        .collect();
    paths.dedup();
    paths
}

/// What a manifest asks for and has not been granted.
pub(super) fn missing(manifest: &Manifest, grants: &Grants) -> Vec<String> {
    let capabilities = manifest.wanted().difference(&grants.capabilities).cloned().collect::<Vec<_>>();
    let routes = routes_beyond_prefix(manifest)
        .into_iter()
        .filter(|route| !grants.routes.iter().any(|granted| shape(granted) == shape(route)));
    capabilities.into_iter().chain(routes).collect()
}

/// A path template without the names of its parameters.
pub(super) fn shape(path: &str) -> String {
    let segments = path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

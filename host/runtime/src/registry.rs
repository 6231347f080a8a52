//! The active plugins and the requests they answer: one immutable table, replaced as a whole.
//!
//! Owns: matching a request to a plugin, and the switch between versions. Must not: call plugins. A version
//! that was replaced lives on in the calls that hold it.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use http::Method;
use percent_encoding::percent_decode_str;

use crate::{LoadError, load::Plugin, manifest::Auth, manifest::Route};

/// What a path template leads to: a plugin's route for each method.
type Endpoints = Vec<Endpoint>;

#[derive(Clone)]
struct Endpoint {
    plugin: Arc<Plugin>,
    /// Index into the manifest's routes.
    route: usize,
}

impl Endpoint {
    fn route(&self) -> Option<&Route> {
        self.plugin.manifest.routes.get(self.route)
    }
}

#[derive(Default)]
struct Table {
    plugins: BTreeMap<String, Arc<Plugin>>,
    router: matchit::Router<Endpoints>,
    commands: BTreeMap<String, Arc<Plugin>>,
}

/// The table, read without a lock.
#[derive(Default)]
pub(crate) struct Registry {
    table: ArcSwap<Table>,
    /// Changes are made one after the other, each from the table before it.
    change: std::sync::Mutex<()>,
}

/// Where a request goes.
#[derive(Debug)]
pub enum Routed {
    /// To a plugin.
    Call(RoutedCall),
    /// The path is a plugin's, the method isn't. These are, sorted.
    MethodNotAllowed(Vec<Method>),
    /// To no plugin.
    NotFound,
}

/// A request's plugin, route and path parameters. Holds the version that was active when it was routed.
#[derive(Clone, Debug)]
pub struct RoutedCall {
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// The template that matched.
    pub route: String,
    /// Whether it needs a caller.
    pub auth: Auth,
    /// The template's parameters, percent-decoded.
    pub params: Vec<(String, String)>,
}

impl Registry {
    fn update(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<Plugin>>)) -> Result<(), LoadError> {
        let _one_at_a_time = self.change.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut plugins = self.table.load().plugins.clone();
        change(&mut plugins);
        let (router, commands) = (build_router(&plugins)?, commands(&plugins)?);
        self.table.store(Arc::new(Table { plugins, router, commands }));
        Ok(())
    }

    /// Makes a plugin the active version of its name.
    pub(crate) fn activate(&self, plugin: Arc<Plugin>) -> Result<(), LoadError> {
        self.update(|plugins| {
            plugins.insert(plugin.name().to_owned(), plugin);
        })
    }

    /// Whether there was one of that name.
    pub(crate) fn deactivate(&self, name: &str) -> bool {
        let mut removed = false;
        // Fewer routes can't conflict where more did not.
        let updated = self.update(|plugins| removed = plugins.remove(name).is_some());
        updated.is_ok() && removed
    }

    pub(crate) fn active(&self) -> Vec<Arc<Plugin>> {
        self.table.load().plugins.values().cloned().collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Plugin>> {
        self.table.load().plugins.get(name).cloned()
    }

    /// Who answers a slash command.
    pub(crate) fn command(&self, name: &str) -> Option<Arc<Plugin>> {
        self.table.load().commands.get(name).cloned()
    }

    pub(crate) fn route(&self, method: &Method, path: &str) -> Routed {
        let table = self.table.load();
        let trimmed = path.strip_suffix('/').unwrap_or(path);
        let Ok(matched) = table.router.at(trimmed) else { return Routed::NotFound };
        let serves = |endpoint: &&Endpoint| endpoint.route().is_some_and(|r| r.methods.contains(method));
        let Some((endpoint, route)) =
            matched.value.iter().find(serves).and_then(|endpoint| Some((endpoint, endpoint.route()?)))
        else {
            let mut methods: Vec<_> =
                matched.value.iter().filter_map(Endpoint::route).flat_map(|r| r.methods.clone()).collect();
            methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
            methods.dedup();
            return Routed::MethodNotAllowed(methods);
        };
        let mut params = Vec::with_capacity(matched.params.len());
        for (name, (_, value)) in route.parameters().zip(matched.params.iter()) {
            let Ok(value) = percent_decode_str(value).decode_utf8() else { return Routed::NotFound };
            params.push((name.to_owned(), value.into_owned()));
        }
        let plugin = Arc::clone(&endpoint.plugin);
        Routed::Call(RoutedCall { plugin, route: route.path.clone(), auth: route.auth, params })
    }
}

fn commands(plugins: &BTreeMap<String, Arc<Plugin>>) -> Result<BTreeMap<String, Arc<Plugin>>, LoadError> {
    let mut commands: BTreeMap<String, Arc<Plugin>> = BTreeMap::new();
    for plugin in plugins.values() {
        for command in &plugin.manifest.commands {
            if let Some(other) = commands.insert(command.name.clone(), Arc::clone(plugin)) {
                let (command, owner) = (command.name.clone(), other.name().to_owned());
                return Err(LoadError::CommandConflict { command, owner });
            }
        }
    }
    Ok(commands)
}

/// Templates of one shape share an entry whatever their parameters are called, so the parameters get numbers
/// here and their names back when a request matches.
fn build_router(plugins: &BTreeMap<String, Arc<Plugin>>) -> Result<matchit::Router<Endpoints>, LoadError> {
    let mut by_shape: BTreeMap<String, Endpoints> = BTreeMap::new();
    for plugin in plugins.values() {
        for (index, route) in plugin.manifest.routes.iter().enumerate() {
            let endpoints = by_shape.entry(route.shape()).or_default();
            for method in &route.methods {
                let owner = endpoints
                    .iter()
                    .find(|e| e.route().is_some_and(|r| r.methods.contains(method)))
                    .map(|e| e.plugin.name().to_owned());
                if let Some(owner) = owner {
                    let (method, path) = (method.to_string(), route.path.clone());
                    return Err(LoadError::RouteConflict { method, path, owner });
                }
            }
            endpoints.push(Endpoint { plugin: Arc::clone(plugin), route: index });
        }
    }
    let mut router = matchit::Router::new();
    for (shape, endpoints) in by_shape {
        router
            .insert(numbered(&shape), endpoints)
            .map_err(|error| LoadError::ManifestInvalid(format!("route {shape}: {error}")))?;
    }
    Ok(router)
}

/// `/a/{}/b/{}` as `/a/{0}/b/{1}`.
fn numbered(shape: &str) -> String {
    let mut number = 0;
    let mut template = String::with_capacity(shape.len() + 8);
    for (index, segment) in shape.split('/').enumerate() {
        if index > 0 {
            template.push('/');
        }
        if segment == "{}" {
            template.push_str(&format!("{{{number}}}"));
            number += 1;
        } else {
            template.push_str(segment);
        }
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_become_templates() {
        assert_eq!(numbered("/a/{}/b/{}"), "/a/{0}/b/{1}");
        assert_eq!(numbered("/a"), "/a");
        let mut router = matchit::Router::new();
        router.insert(numbered("/a/{}"), 1).unwrap();
        router.insert(numbered("/a/b"), 2).unwrap();
        router.insert(numbered("/a/{}/{}"), 3).unwrap();
        let at = |path: &str| router.at(path).map(|m| (*m.value, m.params.len())).ok();
        assert_eq!(at("/a/x"), Some((1, 1)));
        assert_eq!(at("/a/b"), Some((2, 0)), "the fixed segment goes first");
        assert_eq!(at("/a/b/c"), Some((3, 2)));
        assert_eq!(at("/a/%2F/c"), Some((3, 2)), "an encoded slash stays in its segment");
        assert_eq!(at("/a"), None);
    }
}

//! The manifest of a plugin, `plugin.toml`.
//!
//! Owns: its fields and their rules. Must not: know where it is kept or what was granted.

use std::collections::BTreeSet;

use serde::Deserialize;

mod parts;

use parts::RawJob;
pub(crate) use parts::check_command;
pub use parts::{Build, Command, ConfigKey, ConfigType, Egress, EventKinds, Moment, RepeatedJob};

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `[a-z][a-z0-9-]{0,31}`.
    pub name: String,
    /// Its version.
    pub version: semver::Version,
    /// One line for people.
    pub description: String,
    /// The host interfaces it wants to import, e.g. `kv`.
    pub capabilities: BTreeSet<String>,
    /// The file beside the manifest with the plugin's part of the OpenAPI document, which packing puts into the
    /// component.
    pub openapi: Option<String>,
    /// The hosts it wants to send requests to; each is a grant `egress:HOST`.
    pub egress: Vec<Egress>,
    /// The requests it wants to answer.
    pub routes: Vec<Route>,
    /// What it wants to hear of.
    pub events: Vec<EventKinds>,
    /// When its hooks are to be called.
    pub hooks: Vec<Moment>,
    /// The slash commands it answers.
    pub commands: Vec<Command>,
    /// What it wants to do again and again.
    pub jobs: Vec<RepeatedJob>,
    /// What an operator can set.
    pub config: Vec<ConfigKey>,
    /// How its author builds it. No host looks at this.
    pub build: Option<Build>,
    /// Whether it serves without an operator's word when it comes with the host.
    pub autostart: bool,
}

/// A path and the methods on it that a plugin answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Upper case, each once.
    pub methods: Vec<http::Method>,
    /// A path template, e.g. `/api/messages/{message_id}/reactions`. A parameter is a whole segment.
    pub path: String,
    /// Who may call it.
    pub auth: Auth,
}

/// Whether a route needs a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Only with valid credentials.
    Required,
    /// With or without credentials; wrong ones are refused.
    Optional,
    /// Credentials are not looked at.
    None,
}

/// What is wrong with a manifest, for its author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(pub(crate) String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    name: String,
    version: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    capabilities: Vec<String>,
    openapi: Option<String>,
    #[serde(default)]
    egress: Vec<String>,
    #[serde(default)]
    routes: Vec<RawRoute>,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    hooks: Vec<Moment>,
    #[serde(default)]
    commands: Vec<Command>,
    #[serde(default)]
    jobs: Vec<RawJob>,
    #[serde(default)]
    config: Vec<ConfigKey>,
    build: Option<Build>,
    #[serde(default = "yes")]
    autostart: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoute {
    method: Option<String>,
    methods: Option<Vec<String>>,
    path: String,
    auth: Auth,
}

const METHODS: [http::Method; 5] =
    [http::Method::GET, http::Method::POST, http::Method::PUT, http::Method::PATCH, http::Method::DELETE];

impl Manifest {
    /// Reads and checks a `plugin.toml`.
    ///
    /// # Errors
    /// What is wrong, with the line where TOML knows it. Unknown fields are refused.
    pub fn parse(toml: &str) -> Result<Self, ManifestError> {
        let raw: RawManifest =
            toml::from_str(toml).map_err(|error| ManifestError(error.to_string().trim_end().to_owned()))?;
        check_name(&raw.name)?;
        let version = semver::Version::parse(&raw.version)
            .map_err(|error| ManifestError(format!("version {:?}: {error}", raw.version)))?;
        if raw.description.chars().count() > 200 || raw.description.contains(['\n', '\r']) {
            return Err(ManifestError("description: must be one line of at most 200 characters".to_owned()));
        }
        let routes = raw.routes.into_iter().map(Route::from_raw).collect::<Result<Vec<_>, _>>()?;
        let egress = raw.egress.iter().map(|host| Egress::parse(host)).collect::<Result<Vec<_>, _>>()?;
        let events =
            raw.events.iter().map(|kinds| EventKinds::parse(kinds)).collect::<Result<Vec<_>, _>>()?;
        parts::check_commands(&raw.commands)?;
        let jobs = parts::jobs(raw.jobs)?;
        parts::check_config(&raw.config)?;
        let capabilities: BTreeSet<_> = raw.capabilities.into_iter().collect();
        if let Some(host) = capabilities.iter().find_map(|name| name.strip_prefix("egress:")) {
            return Err(ManifestError(format!("capabilities: list {host:?} in `egress`")));
        }
        Ok(Self {
            name: raw.name,
            version,
            description: raw.description,
            capabilities,
            openapi: raw.openapi,
            egress,
            routes,
            events,
            hooks: raw.hooks,
            commands: raw.commands,
            jobs,
            config: raw.config,
            build: raw.build,
            autostart: raw.autostart,
        })
    }

    /// Everything that an operator has to grant, but for routes: the capabilities and `egress:HOST` for each host.
    pub fn wanted(&self) -> BTreeSet<String> {
        let egress = self.egress.iter().map(|host| format!("egress:{host}"));
        self.capabilities.iter().cloned().chain(egress).collect()
    }

    /// Whether `path` lies under this plugin's own prefix, for which it needs no grant.
    pub fn owns_path(&self, path: &str) -> bool {
        let rest = path.strip_prefix("/api/plugins/").and_then(|rest| rest.strip_prefix(self.name.as_str()));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn check_name(name: &str) -> Result<(), ManifestError> {
    let valid = name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if valid { Ok(()) } else { Err(ManifestError(format!("name {name:?}: must be [a-z][a-z0-9-]{{0,31}}"))) }
}

impl Route {
    fn from_raw(raw: RawRoute) -> Result<Self, ManifestError> {
        let wrong = |what: &str| ManifestError(format!("route {:?}: {what}", raw.path));
        let names = match (raw.method, raw.methods) {
            (Some(method), None) => vec![method],
            (None, Some(methods)) if !methods.is_empty() => methods,
            _ => return Err(wrong("needs either `method` or a list `methods`")),
        };
        let mut methods: Vec<http::Method> = Vec::new();
        for name in &names {
            let method = METHODS.into_iter().find(|known| known.as_str() == name.as_str());
            let method = method.ok_or_else(|| wrong("methods are GET, POST, PUT, PATCH and DELETE"))?;
            if methods.contains(&method) {
                return Err(wrong("names a method twice"));
            }
            methods.push(method);
        }
        check_template(&raw.path).map_err(wrong)?;
        Ok(Self { methods, path: raw.path, auth: raw.auth })
    }

    /// The template with its parameters' names taken out: two templates that match the same paths have the
    /// same shape.
    pub fn shape(&self) -> String {
        shape(&self.path)
    }

    /// The names of the template's parameters, in order.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter_map(parameter)
    }
}

/// [`Route::shape`] of any template.
pub(crate) fn shape(template: &str) -> String {
    let segments =
        template.split('/').map(|segment| if parameter(segment).is_some() { "{}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
}

fn check_template(path: &str) -> Result<(), &'static str> {
    let Some(rest) = path.strip_prefix('/') else { return Err("must start with /") };
    if path.len() > 256 {
        return Err("must have at most 256 bytes");
    }
    let mut names = BTreeSet::new();
    for segment in rest.split('/') {
        if let Some(name) = parameter(segment) {
            let valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if !valid {
                return Err("a parameter's name is of a-z and _");
            }
            if !names.insert(name) {
                return Err("names a parameter twice");
            }
        } else {
            let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
            if segment.is_empty() || matches!(segment, "." | "..") || !segment.chars().all(valid) {
                return Err("segments are {parameter} or of letters, digits and - _ . ~, none empty");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_route(route: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(&format!("name = \"a\"\nversion = \"1.0.0\"\n[[routes]]\n{route}"))
    }

    #[test]
    fn a_whole_manifest() {
        let manifest = Manifest::parse(
            r#"
            name = "demo-2"
            version = "1.2.3-rc.1"
            description = "Shows"
            capabilities = ["kv", "log"]
            [[routes]]
            methods = ["GET", "POST"]
            path = "/api/plugins/demo-2/{thing}"
            auth = "optional"
            "#,
        )
        .unwrap();
        assert_eq!(manifest.capabilities, BTreeSet::from(["kv".to_owned(), "log".to_owned()]));
        let route = manifest.routes.first().unwrap();
        assert_eq!((route.methods.len(), route.auth), (2, Auth::Optional));
        assert_eq!(route.shape(), "/api/plugins/demo-2/{}");
        assert_eq!(route.parameters().collect::<Vec<_>>(), ["thing"]);
        assert!(manifest.owns_path("/api/plugins/demo-2/x"));
        assert!(!manifest.owns_path("/api/plugins/demo-20/x"));
        assert!(!manifest.owns_path("/api/messages"));
    }

    #[test]
    fn refused() {
        for name in ["", "A", "1a", "a_b", "ä", &"a".repeat(33)] {
            assert!(Manifest::parse(&format!("name = {name:?}\nversion = \"1.0.0\"")).is_err(), "{name}");
        }
        assert!(Manifest::parse("name = \"a\"\nversion = \"1\"").is_err());
        assert!(Manifest::parse("name = \"a\"\nversion = \"1.0.0\"\nnonsense = 1").is_err());
        assert!(Manifest::parse("name = \"a").is_err());
        for route in [
            "path = \"/a\"\nauth = \"none\"",
            "method = \"GET\"\nmethods = [\"POST\"]\npath = \"/a\"\nauth = \"none\"",
            "methods = []\npath = \"/a\"\nauth = \"none\"",
            "methods = [\"GET\", \"GET\"]\npath = \"/a\"\nauth = \"none\"",
            "method = \"get\"\npath = \"/a\"\nauth = \"none\"",
            "method = \"GET\"\npath = \"/a\"",
            "method = \"GET\"\npath = \"/a\"\nauth = \"maybe\"",
        ] {
            assert!(with_route(route).is_err(), "{route}");
        }
        for path in [
            "", "a", "/", "/a/", "//a", "/a/../b", "/{}", "/{a}b", "/{a}/{a}", "/{*rest}", "/ä", "/a?b",
            "/%20",
        ] {
            assert!(
                with_route(&format!("method = \"GET\"\npath = {path:?}\nauth = \"none\"")).is_err(),
                "{path}"
            );
        }
    }
}

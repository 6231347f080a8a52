//! What a manifest says beyond its routes: events, hooks, commands, jobs, settings, other servers.
//!
//! Owns: their forms. Must not: know who grants or calls them.

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::Deserialize;

use super::ManifestError;

/// A host that a plugin wants to send requests to: a name, `*.name` for all below it, or an address; with a port where
/// it is not the scheme's own. `*` is any host at any port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Egress {
    host: String,
    port: Option<u16>,
}

/// Any host.
const ANY: &str = "*";

impl Egress {
    /// Reads `example.com`, `*.example.com`, `example.com:8443`, `[::1]:80`, `*`.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let wrong = || {
            ManifestError(format!(
                "egress {text:?}: must be a host name in lower case, *.name, or an address, each with an optional port; or *"
            ))
        };
        if text == ANY {
            return Ok(Self { host: ANY.to_owned(), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?))
            }
            _ => (text, None),
        };
        let is_address = |host: &str| {
            let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
        };
        let name = host.strip_prefix("*.").unwrap_or(host);
        let of_a_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_name = name.len() <= 253
            && name.split('.').all(|label| (1..=63).contains(&label.len()) && label.chars().all(of_a_label));
        if !is_name && !is_address(host) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// Whether it covers this host (lower case, an IPv6 address in brackets) and port; `default_port` is that of the
    /// scheme.
    pub fn covers(&self, host: &str, port: u16, default_port: u16) -> bool {
        if self.host == ANY {
            return true;
        }
        let host_fits = match self.host.strip_prefix('*') {
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => host == self.host,
        };
        host_fits && port == self.port.unwrap_or(default_port)
    }
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Which kinds of events: one (`message.created`), all below a name (`message.*`), or all (`*`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKinds {
    /// All.
    All,
    /// Those that start with this, which ends with a dot.
    Below(String),
    /// This one.
    One(String),
}

impl EventKinds {
    pub(super) fn parse(text: &str) -> Result<Self, ManifestError> {
        if text == "*" {
            return Ok(Self::All);
        }
        let name = text.strip_suffix(".*").unwrap_or(text);
        let of_a_name =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
        let valid = (1..=96).contains(&name.len())
            && name.chars().all(of_a_name)
            && name.split('.').all(|part| !part.is_empty());
        if !valid {
            return Err(ManifestError(format!("events {text:?}: must be a kind, `kind.*` or `*`")));
        }
        Ok(if name.len() < text.len() { Self::Below(format!("{name}.")) } else { Self::One(name.to_owned()) })
    }

    /// Whether a kind is among them.
    pub fn covers(&self, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::Below(prefix) => kind.starts_with(prefix.as_str()),
            Self::One(one) => kind == one,
        }
    }
}

impl fmt::Display for EventKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Below(prefix) => write!(f, "{prefix}*"),
            Self::One(name) => f.write_str(name),
        }
    }
}

/// When a hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Moment {
    /// Before a message is posted.
    #[serde(rename = "message.create")]
    Create,
    /// Before a message is edited.
    #[serde(rename = "message.edit")]
    Edit,
}

impl Moment {
    /// Its name in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "message.create",
            Self::Edit => "message.edit",
        }
    }
}

/// A slash command.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// 1 to 32 of `a-z 0-9 _ -`, without the slash.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// How to type it after its name, e.g. `WHEN TEXT`.
    #[serde(default)]
    pub usage: String,
}

pub(super) fn check_commands(commands: &[Command]) -> Result<(), ManifestError> {
    let mut names = BTreeSet::new();
    for command in commands {
        check_command(command)?;
        if !names.insert(&command.name) {
            return Err(ManifestError(format!("command {:?}: is there twice", command.name)));
        }
    }
    Ok(())
}

/// What holds for every command, of a manifest or not.
pub(crate) fn check_command(Command { name, description, usage }: &Command) -> Result<(), ManifestError> {
    let wrong = |what: &str| Err(ManifestError(format!("command {name:?}: {what}")));
    if !is_word(name, 32) {
        return wrong("the name is 1 to 32 of a-z 0-9 _ -");
    }
    if [description, usage].iter().any(|text| text.chars().count() > 200 || text.contains(['\n', '\r'])) {
        return wrong("description and usage are one line of at most 200 characters");
    }
    Ok(())
}

/// A job of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepeatedJob {
    /// 1 to 64 of `a-z 0-9 _ -`.
    pub name: String,
    /// How often, 10 seconds to 31 days.
    pub every: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawJob {
    name: String,
    every: String,
}

pub(super) fn jobs(raw: Vec<RawJob>) -> Result<Vec<RepeatedJob>, ManifestError> {
    let mut jobs: Vec<RepeatedJob> = Vec::new();
    for RawJob { name, every } in raw {
        let wrong = |what: &str| Err(ManifestError(format!("job {name:?}: {what}")));
        if !is_word(&name, 64) {
            return wrong("the name is 1 to 64 of a-z 0-9 _ -");
        }
        if jobs.iter().any(|job| job.name == name) {
            return wrong("is there twice");
        }
        match duration(&every) {
            Some(every) if (10..=31 * 86_400).contains(&every.as_secs()) => {
                jobs.push(RepeatedJob { name, every })
            }
            _ => return wrong("`every` is 10s to 31d, e.g. \"15m\""),
        }
    }
    Ok(jobs)
}

/// `90s`, `15m`, `6h`, `1d`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// How a plugin is built, for `patchbay plugin build` and `patchbay dev`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// What the shell runs in the manifest's folder.
    pub command: String,
    /// The component or core module that this makes, from that folder.
    pub component: String,
}

/// Something that an operator can set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigKey {
    /// 1 to 64 of `a-z 0-9 _ -`.
    pub key: String,
    /// What its value is.
    #[serde(rename = "type")]
    pub kind: ConfigType,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Whether the plugin can't do without. Checked when it is to serve.
    #[serde(default)]
    pub required: bool,
    /// The value while nothing is set. A secret has none.
    pub default: Option<serde_json::Value>,
}

/// What a setting's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfigType {
    /// A text of up to 8,192 bytes.
    String,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// Texts, up to 256.
    Strings,
    /// A text that is kept sealed and never shown.
    Secret,
}

/// Most bytes of a setting's text.
const MAX_TEXT: usize = 8 << 10;
/// Most texts of a setting that is a list.
const MAX_TEXTS: usize = 256;

impl ConfigType {
    /// Its name in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Strings => "strings",
            Self::Secret => "secret",
        }
    }

    /// Whether a value is one of these.
    pub fn accepts(self, value: &serde_json::Value) -> bool {
        let is_text = |value: &serde_json::Value| value.as_str().is_some_and(|text| text.len() <= MAX_TEXT);
        match self {
            Self::String | Self::Secret => is_text(value),
            Self::Integer => value.is_i64(),
            Self::Boolean => value.is_boolean(),
            Self::Strings => {
                value.as_array().is_some_and(|list| list.len() <= MAX_TEXTS && list.iter().all(is_text))
            }
        }
    }
}

pub(super) fn check_config(keys: &[ConfigKey]) -> Result<(), ManifestError> {
    let mut names = BTreeSet::new();
    for ConfigKey { key, kind, description, default, .. } in keys {
        let wrong = |what: &str| Err(ManifestError(format!("config {key:?}: {what}")));
        if !is_word(key, 64) {
            return wrong("the key is 1 to 64 of a-z 0-9 _ -");
        }
        if !names.insert(key) {
            return wrong("is there twice");
        }
        if description.chars().count() > 200 || description.contains(['\n', '\r']) {
            return wrong("the description is one line of at most 200 characters");
        }
        match default {
            Some(_) if *kind == ConfigType::Secret => return wrong("a secret has no default"),
            Some(value) if !kind.accepts(value) => return wrong("the default is not of its type"),
            _ => {}
        }
    }
    Ok(())
}

fn is_word(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    #[test]
    fn egress_covers_what_it_says() {
        let covers = |egress: &str, host: &str, port| Egress::parse(egress).unwrap().covers(host, port, 443);
        assert!(covers("example.com", "example.com", 443));
        assert!(!covers("example.com", "example.com", 8443));
        assert!(covers("example.com:8443", "example.com", 8443));
        assert!(!covers("example.com", "evilexample.com", 443));
        assert!(covers("*.example.com", "a.b.example.com", 443));
        assert!(!covers("*.example.com", "example.com", 443));
        assert!(!covers("*.example.com", "evilexample.com", 443));
        assert!(covers("[::1]:80", "[::1]", 80));
        assert!(covers("127.0.0.1:9", "127.0.0.1", 9));
        assert!(covers("*", "example.com", 8443));
        for wrong in ["", "*:80", "Example.com", "a..b", "a/b", "a:0", "a:b", "::1", "[x]", "*.*.a", "u@a"] {
            assert!(Egress::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn kinds_cover_what_they_say() {
        let covers = |kinds: &str, kind: &str| EventKinds::parse(kinds).unwrap().covers(kind);
        assert!(covers("*", "message.created") && covers("message.*", "message.created"));
        assert!(
            covers("message.created", "message.created") && !covers("message.created", "message.deleted")
        );
        assert!(!covers("message.*", "messages.created"));
        for wrong in ["", ".", "a.", ".a", "a..b", "a*", "*.a", "A"] {
            assert!(EventKinds::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_parts_of_a_manifest() {
        let manifest = |more: &str| Manifest::parse(&format!("name = \"a\"\nversion = \"1.0.0\"\n{more}"));
        let whole = manifest(
            r#"
            egress = ["api.example.com"]
            capabilities = ["kv"]
            events = ["message.*"]
            hooks = ["message.create", "message.edit"]
            [[commands]]
            name = "poll"
            description = "Asks"
            [[jobs]]
            name = "sweep"
            every = "15m"
            [[config]]
            key = "size"
            type = "integer"
            default = 3
            [[config]]
            key = "token"
            type = "secret"
            required = true
            "#,
        )
        .unwrap();
        assert_eq!(whole.wanted(), BTreeSet::from(["kv".to_owned(), "egress:api.example.com".to_owned()]));
        assert_eq!(whole.jobs, [RepeatedJob { name: "sweep".into(), every: Duration::from_secs(900) }]);
        for wrong in [
            "capabilities = [\"egress:x\"]",
            "hooks = [\"message.delete\"]",
            "[[commands]]\nname = \"/x\"\ndescription = \"\"",
            "[[commands]]\nname = \"x\"\ndescription = \"\"\n[[commands]]\nname = \"x\"\ndescription = \"\"",
            "[[jobs]]\nname = \"x\"\nevery = \"5s\"",
            "[[jobs]]\nname = \"x\"\nevery = \"often\"",
            "[[config]]\nkey = \"x\"\ntype = \"float\"",
            "[[config]]\nkey = \"x\"\ntype = \"integer\"\ndefault = \"1\"",
            "[[config]]\nkey = \"x\"\ntype = \"secret\"\ndefault = \"1\"",
        ] {
            assert!(manifest(wrong).is_err(), "{wrong}");
        }
    }
}

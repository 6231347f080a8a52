//! The host interfaces that need a grant. One file each: the trait that the embedder implements, the host
//! functions, their conversions and their bounds. To add one, add its file and a line in [`ALL`].
//!
//! Owns: the list. Must not: decide about permissions; the embedder does, for the actor it is given.

use wasmtime::component::Linker;

use crate::state::CallState;

pub mod bots;
pub mod channels;
pub mod config;
pub mod deployment;
pub mod files;
pub mod http_client;
pub mod identity;
pub mod keys;
pub mod kv;
pub mod llm;
pub mod log;
pub mod messages;
pub mod presence;
pub mod reactions;
pub mod realtime;
pub mod scheduler;
pub mod search;
mod system;
pub mod users;
pub mod vectors;

/// A host interface that a plugin can be granted.
pub(crate) struct Capability {
    /// The interface's name in `wit/` and in manifests and grants.
    pub(crate) name: &'static str,
    /// Adds its functions to a linker.
    pub(crate) link: fn(&mut Linker<CallState>) -> wasmtime::Result<()>,
}

/// All of them, by name.
pub(crate) const ALL: &[Capability] = &[
    Capability { name: "bots", link: bots::link },
    Capability { name: "channels", link: channels::link },
    Capability { name: "config", link: config::link },
    Capability { name: "deployment", link: deployment::link },
    Capability { name: "files", link: files::link },
    Capability { name: "http-client", link: http_client::link },
    Capability { name: "identity", link: identity::link },
    Capability { name: "keys", link: keys::link },
    Capability { name: "kv", link: kv::link },
    Capability { name: "llm", link: llm::link },
    Capability { name: "log", link: log::link },
    Capability { name: "messages", link: messages::link },
    Capability { name: "presence", link: presence::link },
    Capability { name: "reactions", link: reactions::link },
    Capability { name: "realtime", link: realtime::link },
    Capability { name: "scheduler", link: scheduler::link },
    Capability { name: "search", link: search::link },
    Capability { name: "system", link: system::link },
    Capability { name: "users", link: users::link },
    Capability { name: "vectors", link: vectors::link },
];

/// Grants that are no interfaces: hearing of everything, and having a say before messages are stored. The third of
/// this kind, `egress:HOST`, has no fixed name; see [`Egress`](crate::Egress).
const WITHOUT_INTERFACE: [&str; 2] = ["events:all", "hooks"];

pub(crate) fn find(name: &str) -> Option<&'static Capability> {
    ALL.iter().find(|capability| capability.name == name)
}

/// The names of everything that can be granted, but for `egress:HOST`.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|capability| capability.name).chain(WITHOUT_INTERFACE)
}

/// Whether there is anything that a grant of this name would give.
pub fn is_grantable(name: &str) -> bool {
    match name.strip_prefix("egress:") {
        Some(host) => crate::Egress::parse(host).is_ok(),
        None => names().any(|known| known == name),
    }
}

/// `limit` if it is 1 to `max`.
fn check_limit(limit: u32, max: u32) -> Result<u32, crate::HostError> {
    if (1..=max).contains(&limit) {
        Ok(limit)
    } else {
        Err(crate::HostError::new(crate::HostErrorKind::Invalid, format!("limit must be 1 to {max}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_granted() {
        for name in [
            "kv",
            "http-client",
            "events:all",
            "hooks",
            "egress:*",
            "egress:example.org",
            "egress:*.example.org:8443",
        ] {
            assert!(is_grantable(name), "{name}");
        }
        for name in
            ["", "types", "events", "egress:", "egress:*:80", "egress:Example.org", "egress:a/b", "egress"]
        {
            assert!(!is_grantable(name), "{name}");
        }
    }
}

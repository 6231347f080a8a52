//! The host interfaces that need a grant. One file each: the trait that the embedder implements, the host
//! functions, their conversions and their bounds. To add one, add its file and a line in [`ALL`].
//!
//! Owns: the list. Must not: decide about permissions; the embedder does, for the actor it is given.

use wasmtime::component::Linker;

use crate::state::CallState;

pub mod channels;
pub mod kv;
pub mod log;
pub mod messages;
pub mod reactions;
pub mod users;

/// A host interface that a plugin can be granted.
pub(crate) struct Capability {
    /// The interface's name in `wit/` and in manifests and grants.
    pub(crate) name: &'static str,
    /// Adds its functions to a linker.
    pub(crate) link: fn(&mut Linker<CallState>) -> wasmtime::Result<()>,
}

/// All of them.
pub(crate) const ALL: &[Capability] = &[
    Capability { name: "channels", link: channels::link },
    Capability { name: "kv", link: kv::link },
    Capability { name: "log", link: log::link },
    Capability { name: "messages", link: messages::link },
    Capability { name: "reactions", link: reactions::link },
    Capability { name: "users", link: users::link },
];

pub(crate) fn find(name: &str) -> Option<&'static Capability> {
    ALL.iter().find(|capability| capability.name == name)
}

/// What can be granted beside interfaces, with what each allows.
const GRANTS: [&str; 2] = [
    // Hearing of what the plugin's bot is no member of.
    "events:all",
    // Looking at messages before they are stored.
    "hooks",
];

/// The names of everything that can be granted: interfaces, and what is none. Beside them `egress:HOST` for any host.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|capability| capability.name).chain(GRANTS)
}

/// `limit` if it is 1 to `max`.
fn check_limit(limit: u32, max: u32) -> Result<u32, crate::HostError> {
    if (1..=max).contains(&limit) {
        Ok(limit)
    } else {
        Err(crate::HostError::new(crate::HostErrorKind::Invalid, format!("limit must be 1 to {max}")))
    }
}

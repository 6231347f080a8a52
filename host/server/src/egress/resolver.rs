//! Names to addresses that may be connected to. The client connects to what comes out of here and asks no second time,
//! so that a name can't mean one thing when it is looked at and another when it is used.

use std::{net::SocketAddr, sync::Arc};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::policy::Policy;

/// A name has addresses, and none of them may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("none of its addresses may be connected to")]
pub(super) struct Blocked;

/// The system's resolver, its answers looked at.
pub(super) struct Vetted {
    policy: Arc<Policy>,
}

impl Vetted {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self { policy }
    }
}

impl Resolve for Vetted {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        Box::pin(async move {
            // The port is the client's to fill in.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let there_are_some = !found.is_empty();
            let vetted: Vec<_> = found.into_iter().filter(|address| policy.permits(address.ip())).collect();
            if vetted.is_empty() && there_are_some {
                return Err(Blocked.into());
            }
            Ok(Box::new(vetted.into_iter()) as Addrs)
        })
    }
}

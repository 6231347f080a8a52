//! Names to addresses that may be connected to. The client connects to what comes out of here and asks no second time,
//! so that a name can't mean one thing when it is looked at and another when it is used.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::policy::Policy;

/// A name has addresses, and none of them may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("none of its addresses may be connected to")]
pub(super) struct Blocked;

/// Lookups at the same time. One that gets no answer goes on for half a minute whoever waits for it, on a thread that
/// logins and uploads need as well.
const LOOKUPS: usize = 16;

/// The system's resolver, its answers looked at.
pub(super) struct Vetted {
    policy: Arc<Policy>,
    places: Arc<Semaphore>,
}

impl Vetted {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self { policy, places: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

impl Resolve for Vetted {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, places) = (Arc::clone(&self.policy), Arc::clone(&self.places));
        Box::pin(async move {
            let place = places.acquire_owned().await?;
            let look_up = tokio::task::spawn_blocking(move || {
                // Given back when the lookup ends, not when its asker has gone.
                let _place = place;
                // The port is the client's to fill in.
                (name.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
            });
            let found: Vec<SocketAddr> = look_up.await??;
            let there_are_some = !found.is_empty();
            let vetted: Vec<_> = found.into_iter().filter(|address| policy.permits(address.ip())).collect();
            if vetted.is_empty() && there_are_some {
                return Err(Blocked.into());
            }
            Ok(Box::new(vetted.into_iter()) as Addrs)
        })
    }
}

//! Requests of plugins to other servers, within what was granted at this moment.

use patchbay_runtime::{
    Egress as Grant,
    capabilities::http_client::{IncomingAnswer, OutgoingRequest},
};

use super::{Error, Ops, Result, Thing};
use crate::egress::EgressError;

impl Ops {
    /// Sends a plugin's request, if its host is granted.
    ///
    /// # Errors
    /// [`Error::Denied`] with `egress_not_granted` or `egress_blocked`; [`Error::Invalid`], [`Error::Unavailable`],
    /// [`Error::TooLarge`].
    pub async fn send_request(&self, plugin: &str, request: OutgoingRequest) -> Result<IncomingAnswer> {
        // Read anew: what was revoked is gone with the next request.
        let row = self.0.store.read().await?.plugin(plugin).await?.ok_or(Error::NotFound(Thing::Plugin))?;
        let granted: Vec<String> = serde_json::from_str(&row.capabilities)
            .map_err(|error| Error::Internal(format!("the grants of {plugin}: {error}")))?;
        let hosts = granted.iter().filter_map(|name| name.strip_prefix("egress:"));
        let grants: Vec<Grant> = hosts.filter_map(|host| Grant::parse(host).ok()).collect();
        self.0.egress.send(&grants, request).await.map_err(|error| {
            let what = error.to_string();
            match error {
                EgressError::Invalid(_) => Error::invalid("url", "invalid", what),
                EgressError::NotGranted(_) => Error::Denied("egress_not_granted", what),
                EgressError::Blocked(_) => Error::Denied("egress_blocked", what),
                EgressError::Unreachable(_) => Error::Unavailable(what),
                EgressError::TooLarge => Error::TooLarge(what),
            }
        })
    }
}

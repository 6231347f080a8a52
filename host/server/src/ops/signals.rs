//! Signals of plugins to those who are connected. They are kept nowhere, and those that are too many are dropped.

use std::{num::NonZeroU32, sync::Arc};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use patchbay_core::{Actor, ChannelId, permission::Action};
use patchbay_runtime::limits::SIGNALS_PER_SECOND;

use super::{Ops, Result, access::enter_to};
use crate::bus::Signal;

/// How many signals each plugin may still send. Only installed plugins have an entry.
#[derive(Debug)]
pub(super) struct SignalRates(DefaultKeyedRateLimiter<Arc<str>>);

impl Default for SignalRates {
    fn default() -> Self {
        Self(RateLimiter::keyed(Quota::per_second(
            NonZeroU32::new(SIGNALS_PER_SECOND).unwrap_or(NonZeroU32::MIN),
        )))
    }
}

impl Ops {
    /// Sends `plugin.{plugin}.{kind}` to the connected members of a channel, if the plugin has not sent too many.
    ///
    /// # Errors
    /// [`Error::NotFound`](super::Error::NotFound), [`Error::Forbidden`](super::Error::Forbidden) where the actor may
    /// not write.
    pub async fn signal(
        &self,
        plugin: &str,
        actor: &Actor,
        channel: ChannelId,
        kind: &str,
        json: &str,
    ) -> Result<()> {
        let mut conn = self.0.store.read().await?;
        enter_to(&mut conn, actor, channel, Action::Write).await?;
        if self.0.signals.0.check_key(&Arc::from(plugin)).is_ok() {
            let kind = format!("plugin.{plugin}.{kind}");
            self.0.bus.send_lossy(Signal::OfPlugin { channel_id: channel, kind, json: json.to_owned() });
        }
        Ok(())
    }
}

//! Profile pictures.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use patchbay_core::{Actor, Event, Timestamp, User, UserId};
use tokio::sync::OwnedSemaphorePermit;

use super::{Error, Ops, Result, Thing, journal::emit, sessions::Caller, sessions::detached};
use crate::{files::Content, picture};

/// How long an image waits for others to be decoded.
const DECODING_WAIT: Duration = Duration::from_secs(10);
/// After how long a picture that became nobody's is removed.
const UNCLAIMED: Duration = Duration::from_secs(15 * 60);

impl Ops {
    /// Makes `bytes` the caller's profile picture, or removes it.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no picture; [`Error::Unavailable`] if too many are being decoded or the file
    /// store fails.
    pub async fn set_picture(&self, caller: &Caller, bytes: Option<Bytes>) -> Result<User> {
        let path = match bytes {
            Some(bytes) => Some(self.keep_picture(bytes).await?),
            None => None,
        };
        let (this, caller) = (self.clone(), caller.clone());
        detached(async move {
            let written = this
                .0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move {
                        let (id, now) = (caller.user_id, Timestamp::now());
                        tx.set_profile_picture(id, path.as_deref(), now).await?;
                        if let Some(path) = path
                            && tx.spare(&[path]).await? == 0
                        {
                            return Err(Error::Unavailable("the picture took too long".into()));
                        }
                        let user = tx.user(id).await?.ok_or(Error::NotFound(Thing::User))?;
                        emit(tx, &caller.actor, &Event::UserUpdated(user.clone()), now)?;
                        Ok(user)
                    })
                })
                .await;
            this.0.removals.notify_one();
            written
        })
        .await
    }

    async fn keep_picture(&self, bytes: Bytes) -> Result<String> {
        let place = self.decoding_place().await?;
        let decoded = tokio::task::spawn_blocking(move || {
            // A caller who hangs up doesn't end the work, and must not make room for more.
            let _place = place;
            picture::normalise(&bytes)
        });
        let png = decoded
            .await
            .map_err(|error| Error::Internal(format!("decoding a picture failed: {error}")))?
            .map_err(|why| Error::invalid("file", "not_a_picture", why.to_string()))?;
        let path = self.0.files.new_path()?;
        let noted = path.clone();
        // Until they are somebody's picture, the bytes are put down for removal.
        let store = &self.0.store;
        store
            .write::<_, Error, _>(move |tx| {
                let due = Timestamp::now().plus(UNCLAIMED);
                Box::pin(async move { Ok(tx.remove_later(&noted, due).await?) })
            })
            .await?;
        let whole = stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(png))]);
        self.0.files.receive(&path, whole).await?;
        Ok(path)
    }

    /// A place among those who decode images.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if none is free within 10 s.
    pub(super) async fn decoding_place(&self) -> Result<OwnedSemaphorePermit> {
        match tokio::time::timeout(DECODING_WAIT, Arc::clone(&self.0.decoding).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Error::Unavailable("too many images at once".into())),
        }
    }

    /// A user's profile picture, a PNG, and a name that changes with it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the user or the picture.
    pub async fn picture(&self, actor: &Actor, id: UserId) -> Result<(String, Content)> {
        let path = self.user(actor, id).await?.profile_picture.ok_or(Error::NotFound(Thing::Picture))?;
        let content = self.0.files.content(&path, None).await?;
        Ok((path, content))
    }
}

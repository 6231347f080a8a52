//! Profile pictures.

use bytes::Bytes;
use futures_util::stream;
use patchbay_core::{Actor, Event, Timestamp, User, UserId};

use super::{Error, Ops, Result, Thing, journal::emit, sessions::Caller, sessions::detached};
use crate::{files::Content, picture};

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
            let kept = path.clone();
            let written = this
                .0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move {
                        let (id, now) = (caller.user_id, Timestamp::now());
                        let old = tx.user(id).await?.ok_or(Error::NotFound(Thing::User))?.profile_picture;
                        tx.set_profile_picture(id, path.as_deref(), now).await?;
                        let user = tx.user(id).await?.ok_or(Error::NotFound(Thing::User))?;
                        emit(tx, &caller.actor, &Event::UserUpdated(user.clone()), now);
                        Ok((user, old))
                    })
                })
                .await;
            // Either the old picture or the new one has no purpose any more.
            let (answer, useless) = match written {
                Ok((user, old)) => (Ok(user), old),
                Err(error) => (Err(error), kept),
            };
            if let Some(useless) = useless
                && let Err(error) = this.0.files.delete(&useless).await
            {
                tracing::warn!(%error, "a profile picture that nobody uses was not removed");
            }
            answer
        })
        .await
    }

    async fn keep_picture(&self, bytes: Bytes) -> Result<String> {
        let _place = self
            .0
            .decoding
            .clone()
            .try_acquire_owned()
            .map_err(|_| Error::Unavailable("too many pictures at once".into()))?;
        let decoded = tokio::task::spawn_blocking(move || picture::normalise(&bytes));
        let png = decoded
            .await
            .map_err(|error| Error::Internal(format!("decoding a picture failed: {error}")))?
            .map_err(|why| Error::invalid("file", "not_a_picture", why.to_string()))?;
        let path = self.0.files.new_path()?;
        let whole = stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(png))]);
        self.0.files.receive(&path, whole).await?;
        Ok(path)
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

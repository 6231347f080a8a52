//! Made-up data: people, channels, and months of conversations, the same for the same seed.
//!
//! Owns: what is made up, and the order in which it is written. Must not: be run on a deployment that somebody uses.

mod media;
mod past;
mod words;

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use futures_util::stream;
use patchbay_core::{MessageId, Timestamp};
use patchbay_store::{PastFile, PastMember, PastMessage, PastReaction, Store, StoreError};

use crate::{
    auth::passwords::{PasswordError, Passwords},
    files::{Files, FilesError},
};

use past::{People, Place};

/// Messages of one transaction.
const BATCH: u64 = 2000;
/// Messages whose replies are counted in one transaction.
const COUNT: i64 = 50_000;
/// How far back it all goes.
const SPAN: Duration = Duration::from_secs(90 * 24 * 3600);

/// Who is superuser: the first of them.
pub const SUPERUSER: &str = "anna";

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Amounts {
    /// People, the superuser among them.
    pub users: u64,
    /// Channels, direct messages among them.
    pub channels: u64,
    /// Messages.
    pub messages: u64,
    /// Files, at most one per message.
    pub files: u64,
    /// Reactions.
    pub reactions: u64,
}

/// Why nothing, or not everything, was made.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Somebody has an account.
    #[error("the deployment is not empty; made-up data goes into a new one")]
    NotEmpty,
    /// The amounts don't fit each other.
    #[error("{0}")]
    Amounts(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes of files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A picture.
    #[error("a picture could not be encoded: {0}")]
    Picture(#[from] image::ImageError),
}

/// Whether anybody has an account.
///
/// # Errors
/// If the database can't be read.
pub async fn is_unused(store: &Store) -> Result<bool, SeedError> {
    Ok(store.read().await?.is_unused().await?)
}

/// Fills a deployment that nobody has used. Everybody's password is `password`; the first user is superuser; the
/// last message is said at `now`. `progress` hears how many messages there are.
///
/// # Errors
/// [`SeedError::NotEmpty`], [`SeedError::Amounts`]; whatever the database and the file store say. What has been
/// written until then stays.
pub async fn fill(
    store: &Store,
    files: &Files,
    amounts: Amounts,
    seed: u64,
    password: &str,
    now: Timestamp,
    progress: impl Fn(u64),
) -> Result<(), SeedError> {
    check(amounts)?;
    if !is_unused(store).await? {
        return Err(SeedError::NotEmpty);
    }
    let hash = Passwords::new()?.hash(password.to_owned()).await?;
    let mut rng = Rng::with_seed(seed);
    let begin = now.minus(SPAN);
    let people = People::new(&mut rng, amounts.users, begin, now);
    let places = past::places(&mut rng, amounts.channels, amounts.users, begin);
    let (users, channels) = (people.rows(&hash), places.iter().map(Place::row).collect::<Vec<_>>());
    store
        .write::<_, SeedError, _>(move |tx| {
            Box::pin(async move {
                tx.insert_past_users(&users).await?;
                Ok(tx.insert_past_channels(&channels).await?)
            })
        })
        .await?;
    let mut talk = Talk { rng, amounts, begin, places, roots: HashMap::new(), files: 0, reactions: 0 };
    let mut done = 0;
    while done < amounts.messages {
        let until = (done + BATCH).min(amounts.messages);
        let mut batch = Batch::default();
        for n in done..until {
            talk.message(n, &people, &mut batch);
        }
        for (message, file) in &mut batch.files {
            talk.keep(files, message, file).await?;
        }
        let last = i64::try_from(until).unwrap_or(i64::MAX);
        store
            .write::<_, SeedError, _>(move |tx| Box::pin(async move { Ok(batch.write(tx, last).await?) }))
            .await?;
        done = until;
        progress(done);
    }
    talk.finish(store).await
}

fn check(amounts: Amounts) -> Result<(), SeedError> {
    let wrong = |what: &str| Err(SeedError::Amounts(what.to_owned()));
    let Amounts { users, channels, messages, files, reactions } = amounts;
    match () {
        () if users == 0 && (channels > 0 || messages > 0) => wrong("channels and messages need users"),
        () if channels == 0 && messages > 0 => wrong("messages need channels"),
        () if files > messages => wrong("there can't be more files than messages"),
        () if reactions > messages.saturating_mul(users.min(4)) => {
            wrong("there are too few messages and users for so many reactions")
        }
        () => Ok(()),
    }
}

/// Rows of one transaction.
#[derive(Default)]
struct Batch {
    messages: Vec<PastMessage>,
    reactions: Vec<PastReaction>,
    files: Vec<(PastMessage, Option<PastFile>)>,
}

impl Batch {
    async fn write(self, tx: &mut patchbay_store::Tx, last: i64) -> Result<(), StoreError> {
        tx.insert_past_messages(&self.messages).await?;
        tx.insert_past_reactions(&self.reactions).await?;
        let files: Vec<_> = self.files.into_iter().filter_map(|(_, file)| file).collect();
        tx.insert_past_files(&files).await?;
        tx.count_on(0, 0, last).await
    }
}

/// The conversations, message by message.
struct Talk {
    rng: Rng,
    amounts: Amounts,
    begin: Timestamp,
    places: Vec<Place>,
    /// The last roots and the last messages of each channel.
    roots: HashMap<usize, Vec<MessageId>>,
    files: u64,
    reactions: u64,
}

/// How many of `total` are due after the `n`th of `of`.
fn due(total: u64, n: u64, of: u64) -> u64 {
    u64::try_from(u128::from(total) * u128::from(n + 1) / u128::from(of.max(1))).unwrap_or(total)
}

impl Talk {
    fn message(&mut self, n: u64, people: &People, batch: &mut Batch) {
        let rng = &mut self.rng;
        let at = words::zipf(rng, self.places.len());
        let Some(place) = self.places.get_mut(at) else { return };
        let id = MessageId(i64::try_from(n + 1).unwrap_or(i64::MAX));
        let created_at = past::moment(self.begin, SPAN, n, self.amounts.messages);
        let sender = place.somebody(rng);
        let roots = self.roots.entry(at).or_default();
        let parent = (rng.u8(..100) < 22).then(|| rng.choice(roots.iter().copied())).flatten();
        if parent.is_none() {
            if roots.len() >= 12 {
                roots.remove(0);
            }
            roots.push(id);
        }
        let mut content = words::sentence(rng);
        let mut mentions = Vec::new();
        if rng.u8(..100) < 9 {
            let user = place.somebody(rng);
            content = format!("@{} {content}", people.username(user));
            mentions.push(user);
        }
        let edited = (rng.u8(..100) < 4).then(|| {
            let first = content.clone();
            content.push_str(&words::correction(rng));
            (first, created_at.plus(Duration::from_secs(rng.u64(5..600))))
        });
        let has_attachments = self.files < due(self.amounts.files, n, self.amounts.messages);
        let message = PastMessage {
            id,
            channel: place.id(),
            sender,
            parent,
            content,
            mentions,
            has_attachments,
            created_at,
            edited,
        };
        place.said(id);
        let wanted = due(self.amounts.reactions, n, self.amounts.messages);
        self.reactions +=
            react(rng, &message, place, wanted - self.reactions, n + 1 == self.amounts.messages, batch);
        if has_attachments {
            self.files += 1;
            batch.files.push((message.clone(), None));
        }
        batch.messages.push(message);
    }

    /// Writes a file's bytes.
    async fn keep(
        &mut self,
        files: &Files,
        message: &PastMessage,
        row: &mut Option<PastFile>,
    ) -> Result<(), SeedError> {
        let number = usize::try_from(message.id.0).unwrap_or(0);
        let media = media::media(&mut self.rng, number)?;
        // Of the seed too, unlike the names of files that people upload.
        let name: String = (0..22).map(|_| self.rng.alphanumeric()).collect();
        let path = format!("{}/{name}", name.get(..2).unwrap_or("00"));
        let whole = stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(media.bytes))]);
        let received = files.receive(&path, whole).await?;
        *row = Some(PastFile {
            filename: media.name,
            path,
            kind: media.kind,
            size: i64::try_from(received.size).unwrap_or(i64::MAX),
            sha256: received.sha256,
            owner: message.sender,
            message: message.id,
            created_at: message.created_at,
        });
        Ok(())
    }

    /// Members, how far each has read, and what is counted.
    async fn finish(mut self, store: &Store) -> Result<(), SeedError> {
        let rng = &mut self.rng;
        let members: Vec<PastMember> = self.places.iter().flat_map(|place| place.members(rng)).collect();
        for chunk in members.chunks(20_000) {
            let chunk = chunk.to_vec();
            store
                .write::<_, SeedError, _>(move |tx| {
                    Box::pin(async move { Ok(tx.insert_past_members(&chunk).await?) })
                })
                .await?;
        }
        let number = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        let Amounts { users, channels, messages, .. } = self.amounts;
        let (users, channels, messages) = (number(users), number(channels), number(messages));
        let mut after = 0;
        while after < messages {
            let range = (MessageId(after), MessageId(after + COUNT));
            store
                .write::<_, SeedError, _>(move |tx| {
                    Box::pin(async move { Ok(tx.count_replies(range.0, range.1).await?) })
                })
                .await?;
            after += COUNT;
        }
        store
            .write::<_, SeedError, _>(move |tx| {
                Box::pin(async move { Ok(tx.count_on(users, channels, messages).await?) })
            })
            .await
    }
}

/// Lets members react: few messages get many. All that are wanted, if this is the last one that can get any.
fn react(
    rng: &mut Rng,
    message: &PastMessage,
    place: &Place,
    wanted: u64,
    is_last: bool,
    batch: &mut Batch,
) -> u64 {
    if wanted == 0 || (!is_last && rng.u8(..100) < 65) {
        return 0;
    }
    let mut given: Vec<PastReaction> = Vec::new();
    for _ in 0..wanted.saturating_mul(8) {
        if given.len() as u64 == wanted {
            break;
        }
        let (user, emoji) = (place.somebody(rng), words::emoji(rng));
        if given.iter().any(|other| other.user == user && other.emoji == emoji) {
            continue;
        }
        let created_at = message.created_at.plus(Duration::from_secs(rng.u64(1..3600)));
        given.push(PastReaction { message: message.id, user, emoji, created_at });
    }
    let count = given.len() as u64;
    batch.reactions.extend(given);
    count
}

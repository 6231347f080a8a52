//! The contract of the store, the same for every database behind it.

use std::{sync::Arc, time::Duration};

use patchbay_core::{Audience, ChannelId, FileId, MessageId, Role, Seq, Timestamp, UserId};
use patchbay_store::{
    Arrived, Location, NewChannel, NewDeadLetter, NewEntry, NewMessage, NewUser, Page, PluginRow, Store,
    StoreError, Tx, Viewer,
};

/// A migration of the future.
macro_rules! newer {
    ($checksum:literal) => {
        concat!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'what nobody has thought of', TRUE, ",
            $checksum,
            ", 0)"
        )
    };
}

#[tokio::test]
async fn a_newer_database_is_refused_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let location = file(dir.path());
    open(&location).await.close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("test.db"));
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql(newer!("x'00'")).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    assert!(matches!(Store::open(&location).await, Err(StoreError::Newer(9999))));
}

#[tokio::test]
async fn a_newer_database_is_refused_postgres() {
    let Some(database) = patchbay_tests::postgres::database().await else { return };
    let location = Location::postgres(&database.url).unwrap();
    open(&location).await.close().await;
    database.run(newer!("'\\x00'")).await;
    assert!(matches!(Store::open(&location).await, Err(StoreError::Newer(9999))));
}

/// Runs each test of the contract on each database.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $name() {
                    let dir = tempfile::tempdir().unwrap();
                    let store = super::open(&super::file(dir.path())).await;
                    super::$name(store).await;
                }
            )*
        }
        mod postgres {
            $(
                #[tokio::test]
                async fn $name() {
                    let Some(database) = patchbay_tests::postgres::database().await else { return };
                    let store = super::open(&super::Location::Postgres(database.url.clone())).await;
                    super::$name(store).await;
                }
            )*
        }
    };
}

mod journal;
mod search;

contract!(
    names_are_unique_without_regard_to_case,
    a_hash_is_replaced_only_where_it_still_is,
    keys_are_scanned_by_their_bytes,
    lists_may_be_empty,
    unread_messages_are_counted_up_to_ten_thousand,
    plugin_state_is_counted_and_goes_with_its_message,
    deleted_channels_are_purged_piece_by_piece,
    no_file_goes_without_leaving_word_of_its_bytes,
    pages_go_both_ways,
    of_dead_letters_the_newest_are_kept,
);

pub(crate) fn file(directory: &std::path::Path) -> Location {
    Location::Sqlite(directory.join("test.db"))
}

pub(crate) async fn open(location: &Location) -> Store {
    Store::open(location).await.unwrap()
}

pub(crate) async fn write<T: Send + 'static>(
    store: &Store,
    operation: impl for<'a> FnOnce(
        &'a mut Tx,
    )
        -> std::pin::Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>
    + Send
    + 'static,
) -> Result<T, StoreError> {
    store.write(operation).await
}

pub(crate) fn new_user(name: &str) -> NewUser {
    NewUser {
        username: name.to_owned(),
        email: format!("{name}@example.org"),
        full_name: None,
        hashed_password: None,
        is_superuser: false,
        is_bot: false,
    }
}

pub(crate) async fn user(store: &Store, name: &str) -> UserId {
    let new = new_user(name);
    write(store, move |tx| Box::pin(async move { tx.insert_user(&new, Timestamp::now()).await }))
        .await
        .unwrap()
}

async fn channel(store: &Store, owner: UserId, is_public: bool) -> ChannelId {
    let new = NewChannel {
        name: "general".into(),
        description: None,
        is_direct_message: false,
        is_public,
        is_vc: false,
        created_by_id: owner,
        dm_key: None,
    };
    write(store, move |tx| {
        Box::pin(async move {
            let channel = tx.insert_channel(&new, Timestamp::now()).await?;
            tx.insert_members(channel.id, &[(owner, Role::Owner)], Timestamp::now()).await?;
            Ok(channel.id)
        })
    })
    .await
    .unwrap()
}

async fn insert(
    tx: &mut Tx,
    channel: ChannelId,
    sender: UserId,
    content: &str,
) -> Result<MessageId, StoreError> {
    let new = NewMessage {
        channel_id: channel,
        sender_id: sender,
        is_bot: false,
        parent_id: None,
        content,
        mentions: &[],
        has_attachments: false,
    };
    Ok(tx.insert_messages(&[new], Timestamp::now()).await?[0])
}

pub(crate) fn entry(payload: impl Into<String>) -> NewEntry {
    NewEntry {
        kind: "test".into(),
        audience: Audience::Everyone,
        channel_id: None,
        message_id: None,
        actor_id: None,
        target_user_id: None,
        payload: payload.into(),
        origin: None,
        depth: 0,
        created_at: Timestamp::now(),
    }
}

async fn names_are_unique_without_regard_to_case(store: Store) {
    user(&store, "Änn").await;
    let new = NewUser { email: "other@example.org".into(), ..new_user("äNN") };
    let taken =
        write(&store, move |tx| Box::pin(async move { tx.insert_user(&new, Timestamp::now()).await })).await;
    assert!(matches!(&taken, Err(StoreError::Unique(what)) if what.contains("username_key")), "{taken:?}");
    let found = store.read().await.unwrap().user_by_name("ÄNN").await.unwrap();
    assert_eq!(found.unwrap().username, "Änn");
}

/// A change of the password that comes in between wins over the rehash of the old one.
async fn a_hash_is_replaced_only_where_it_still_is(store: Store) {
    let ann = user(&store, "ann").await;
    let now = Timestamp::now();
    write(&store, move |tx| Box::pin(async move { tx.set_password(ann, "$2b$04$old", now).await }))
        .await
        .unwrap();
    assert_eq!(store.read().await.unwrap().any_bcrypt_hash().await.unwrap().as_deref(), Some("$2b$04$old"));
    for (old, new, replaced) in
        [("$2b$04$other", "a", false), ("$2b$04$old", "$argon2id$b", true), ("$2b$04$old", "c", false)]
    {
        let done =
            write(&store, move |tx| Box::pin(async move { tx.rehash_password(ann, old, new).await })).await;
        assert_eq!(done.unwrap(), replaced, "{old}");
    }
    let mut conn = store.read().await.unwrap();
    assert_eq!(
        conn.secret_by_id(ann).await.unwrap().unwrap().hashed_password.as_deref(),
        Some("$argon2id$b")
    );
    assert_eq!(conn.any_bcrypt_hash().await.unwrap(), None);
}

async fn plugin_state_is_counted_and_goes_with_its_message(store: Store) {
    let ann = user(&store, "ann").await;
    let general = channel(&store, ann, true).await;
    let message = write(&store, move |tx| Box::pin(async move { insert(tx, general, ann, "vote").await }))
        .await
        .unwrap();
    write(&store, move |tx| {
        Box::pin(async move {
            tx.kv_put("poll", "a", b"12345", Some(message)).await?;
            tx.kv_put("poll", "b", b"1", None).await?;
            tx.kv_put("poll", "b", b"12", None).await?;
            tx.kv_put("poll", "ä", b"", None).await?;
            tx.kv_put("other", "a", b"theirs", None).await
        })
    })
    .await
    .unwrap();
    let mut conn = store.read().await.unwrap();
    assert_eq!(conn.kv_bytes("poll").await.unwrap(), 6 + 3 + 2);
    assert_eq!(conn.kv_get("other", "a").await.unwrap().as_deref(), Some(&b"theirs"[..]));
    write(&store, move |tx| Box::pin(async move { tx.delete_message(message).await })).await.unwrap();
    assert_eq!(conn.kv_get("poll", "a").await.unwrap(), None);
    assert_eq!(conn.kv_bytes("poll").await.unwrap(), 5);
    let keys = conn.kv_scan("poll", "", None, 10).await.unwrap();
    assert_eq!(keys.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["b", "ä"]);
}

async fn keys_are_scanned_by_their_bytes(store: Store) {
    write(&store, |tx| {
        Box::pin(async move {
            for key in ["b:1", "B:1", "b:ä", "b:Z", "b:a", "b-1", "b", "c", "b:\u{10ffff}"] {
                tx.kv_put("poll", key, b"", None).await?;
            }
            Ok(())
        })
    })
    .await
    .unwrap();
    let mut conn = store.read().await.unwrap();
    let mut scan = async |prefix: &str, after: Option<&str>, limit| {
        let found = conn.kv_scan("poll", prefix, after, limit).await.unwrap();
        found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(scan("", None, 4).await, ["B:1", "b", "b-1", "b:1"]);
    assert_eq!(scan("b:", None, 10).await, ["b:1", "b:Z", "b:a", "b:ä", "b:\u{10ffff}"]);
    assert_eq!(scan("b:", Some("b:Z"), 2).await, ["b:a", "b:ä"]);
    assert_eq!(scan("b", Some("b:ä"), 10).await, ["b:\u{10ffff}"]);
}

async fn lists_may_be_empty(store: Store) {
    let ann = user(&store, "ann").await;
    let mut conn = store.read().await.unwrap();
    assert!(conn.existing_users(&[]).await.unwrap().is_empty());
    assert!(conn.user_ids_by_name(&[]).await.unwrap().is_empty());
    assert!(conn.reaction_counts(&[], Some(ann)).await.unwrap().is_empty());
    assert!(conn.kv_get_many("poll", &[]).await.unwrap().is_empty());
}

/// A file whose bytes are at `path`, whole if it is attached to a message.
async fn file_at(
    tx: &mut Tx,
    path: &str,
    owner: UserId,
    on: Option<MessageId>,
) -> Result<FileId, StoreError> {
    let now = Timestamp::now();
    let id = tx.insert_file("a.txt", path, "text/plain", owner, now).await?;
    let Some(message) = on else { return Ok(id) };
    let (sha256, file_type) = ("00".to_owned(), "text/plain".to_owned());
    assert!(tx.finish_file(id, &Arrived { size: 7, sha256, file_type, image: None }, now).await?);
    assert_eq!(tx.attach_files(message, owner, &[id], now).await?, 1);
    Ok(id)
}

async fn no_file_goes_without_leaving_word_of_its_bytes(store: Store) {
    let ann = user(&store, "ann").await;
    let (kept, general) = (channel(&store, ann, true).await, channel(&store, ann, true).await);
    write(&store, move |tx| {
        Box::pin(async move {
            let now = Timestamp::now();
            let deleted = insert(tx, kept, ann, "deleted").await?;
            let entombed = insert(tx, kept, ann, "entombed").await?;
            let stays = insert(tx, kept, ann, "stays").await?;
            let purged = insert(tx, general, ann, "purged").await?;
            file_at(tx, "with-message", ann, Some(deleted)).await?;
            file_at(tx, "with-tombstone", ann, Some(entombed)).await?;
            file_at(tx, "with-channel", ann, Some(purged)).await?;
            let alone = file_at(tx, "alone", ann, Some(stays)).await?;
            file_at(tx, "stays", ann, Some(stays)).await?;
            let unfinished = file_at(tx, "unfinished", ann, None).await?;
            tx.set_upload_id(unfinished, "upload").await?;
            assert_eq!(tx.bytes_of(ann).await?, 35);
            for picture in [Some("picture"), Some("picture"), Some("newer"), None] {
                tx.set_profile_picture(ann, picture, now).await?;
            }
            tx.delete_message(deleted).await?;
            tx.entomb_message(entombed, now).await?;
            tx.delete_file(alone).await?;
            assert_eq!(tx.delete_unfinished_files().await?, 1);
            tx.delete_channel(general, now).await?;
            tx.purge_deleted_channels(10).await?;
            assert_eq!(tx.bytes_of(ann).await?, 7);
            tx.remove_later("unclaimed", now.plus(Duration::from_secs(60))).await
        })
    })
    .await
    .unwrap();
    let due = async || {
        let now = Timestamp::now();
        let mut due = store.read().await.unwrap().removals_due(now, 100).await.unwrap();
        due.sort_by(|a, b| a.path.cmp(&b.path));
        due
    };
    let found = due().await;
    let paths: Vec<_> = found.iter().map(|removal| removal.path.as_str()).collect();
    let all = ["alone", "newer", "picture", "unfinished", "with-channel", "with-message", "with-tombstone"];
    assert_eq!(paths, all);
    let uploads: Vec<_> = found.iter().filter_map(|removal| removal.upload_id.as_deref()).collect();
    assert_eq!(uploads, ["upload"]);
    write(&store, move |tx| {
        Box::pin(async move {
            assert_eq!(tx.spare(&["picture".into(), "newer".into(), "never".into()]).await?, 2);
            tx.put_off(&["alone".into()], Timestamp::now().plus(Duration::from_secs(60))).await
        })
    })
    .await
    .unwrap();
    assert_eq!(due().await.len(), 4);
}

async fn deleted_channels_are_purged_piece_by_piece(store: Store) {
    let ann = user(&store, "ann").await;
    let general = channel(&store, ann, true).await;
    write(&store, move |tx| {
        Box::pin(async move {
            let mut root = None;
            for _ in 0..5 {
                let id = insert(tx, general, ann, "xyzzy").await?;
                root.get_or_insert(id);
                tx.append(NewEntry { message_id: Some(id), ..entry("{\"content\":\"xyzzy\"}") });
            }
            // A reply goes with its root, long before its own turn.
            let reply = NewMessage {
                channel_id: general,
                sender_id: ann,
                is_bot: false,
                parent_id: root,
                content: "plugh",
                mentions: &[],
                has_attachments: false,
            };
            let id = tx.insert_messages(&[reply], Timestamp::now()).await?[0];
            tx.append(NewEntry { message_id: Some(id), ..entry("{\"content\":\"plugh\"}") });
            tx.delete_channel(general, Timestamp::now()).await
        })
    })
    .await
    .unwrap();
    let purge = async || {
        write(&store, |tx| Box::pin(async move { tx.purge_deleted_channels(3).await })).await.unwrap()
    };
    assert_eq!((purge().await, purge().await, purge().await), (3, 2, 0));
    let entries = store.read().await.unwrap().journal(Seq(0), 10).await.unwrap();
    assert!(entries.iter().all(|entry| entry.payload == "{}"), "{entries:?}");
    assert_eq!(
        store.read().await.unwrap().channel_ids_of(ann).await.unwrap(),
        [general],
        "its members are known for as long as the journal speaks of it"
    );
    write(&store, |tx| Box::pin(async move { tx.prune_journal(Timestamp(i64::MAX), 0, 100).await }))
        .await
        .unwrap();
    purge().await;
    assert!(store.read().await.unwrap().channel_ids_of(ann).await.unwrap().is_empty());
}

async fn pages_go_both_ways(store: Store) {
    let ann = user(&store, "ann").await;
    let general = channel(&store, ann, true).await;
    for n in 0..5 {
        write(&store, move |tx| Box::pin(async move { insert(tx, general, ann, &n.to_string()).await }))
            .await
            .unwrap();
    }
    let mut conn = store.read().await.unwrap();
    let mut page = async |before, after| {
        let page = Page { before, after, limit: 2 };
        let found = conn.messages(general, &page).await.unwrap();
        found.into_iter().map(|m| m.content).collect::<String>()
    };
    assert_eq!(page(None, None).await, "43");
    assert_eq!(page(Some(3), None).await, "10");
    assert_eq!(page(None, Some(3)).await, "34");
}

async fn unread_messages_are_counted_up_to_ten_thousand(store: Store) {
    let (ann, bob) = (user(&store, "ann").await, user(&store, "bob").await);
    let id = channel(&store, ann, true).await;
    let last = write(&store, move |tx| {
        Box::pin(async move {
            let mut last = insert(tx, id, bob, "x").await?;
            for _ in 0..10_000 {
                last = insert(tx, id, bob, "x").await?;
            }
            Ok(last)
        })
    });
    let last = last.await.unwrap();
    let unread = async || {
        let view = store.read().await.unwrap().channel_view(id, Some(ann)).await.unwrap();
        view.unwrap().unread_count
    };
    assert_eq!(unread().await, 10_000);
    let mark = MessageId(last.0 - 7);
    write(&store, move |tx| Box::pin(async move { tx.mark_read(id, ann, mark).await })).await.unwrap();
    assert_eq!(unread().await, 7);
}

async fn of_dead_letters_the_newest_are_kept(store: Store) {
    let told = write(&store, |tx| {
        Box::pin(async move {
            for name in ["other", "poll"] {
                let row = PluginRow {
                    name: name.to_owned(),
                    active_digest: None,
                    enabled: true,
                    capabilities: "[]".to_owned(),
                    routes: "[]".to_owned(),
                    config: "{}".to_owned(),
                    limits: "{}".to_owned(),
                    bundled_digest: None,
                    previous_digest: None,
                    hook_order: 0,
                    hooks_fail_closed: false,
                    quarantine: None,
                    created_at: 0,
                    updated_at: 0,
                };
                tx.put_plugin(&row).await?;
            }
            for n in 0..12 {
                let letter = NewDeadLetter {
                    plugin: (if n == 0 { "other" } else { "poll" }).to_owned(),
                    kind: "message.created".to_owned(),
                    seq: Some(n),
                    channel_id: None,
                    message_id: None,
                    actor_id: None,
                    origin: None,
                    depth: 0,
                    payload: "{}".to_owned(),
                    at: n,
                    error: "no".to_owned(),
                    attempts: 1,
                };
                tx.insert_dead_letter(&letter, 10, Timestamp(n)).await?;
            }
            Ok(())
        })
    });
    told.await.unwrap();
    let mut conn = store.read().await.unwrap();
    let oldest = conn.dead_letters_to_redeliver("poll", None, 1).await.unwrap();
    assert_eq!(oldest[0].seq, Some(2));
    let mut counts = conn.dead_letter_counts().await.unwrap();
    counts.sort();
    assert_eq!(counts, [("other".to_owned(), 1), ("poll".to_owned(), 10)]);
}

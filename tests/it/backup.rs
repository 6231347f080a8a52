//! Backup and restore: what was copied is all there again, on either database, and nothing half.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use patchbay_tests::{Backup, TestApp, User, Value, component, guest, json, postgres};

/// A program that has ended well.
#[track_caller]
fn done(output: Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a program that has failed said.
#[track_caller]
fn refused(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr).unwrap()
}

async fn upload(user: &User, name: &str, bytes: Vec<u8>) -> i64 {
    let part =
        reqwest::multipart::Part::bytes(bytes).file_name(name.to_owned()).mime_str("text/plain").unwrap();
    let form = reqwest::multipart::Form::new().part("file", part);
    let request = user.request(reqwest::Method::POST, "/api/files/upload").multipart(form);
    user.send(request).await.expect(201)["id"].as_i64().unwrap()
}

#[tokio::test]
async fn a_deployment_comes_back_from_sqlite_to_sqlite() {
    there_and_back(TestApp::start_on_sqlite().await, None).await;
}

#[tokio::test]
async fn a_deployment_moves_from_sqlite_to_postgres() {
    let Some(database) = postgres::database().await else { return };
    there_and_back(TestApp::start_on_sqlite().await, Some(database)).await;
}

#[tokio::test]
async fn a_deployment_moves_from_postgres_to_sqlite() {
    let Some(app) = TestApp::start_on_postgres().await else { return };
    there_and_back(app, None).await;
}

#[tokio::test]
async fn a_deployment_comes_back_from_postgres_to_postgres() {
    let (Some(app), Some(database)) = (TestApp::start_on_postgres().await, postgres::database().await) else {
        return;
    };
    there_and_back(app, Some(database)).await;
}

async fn there_and_back(mut app: TestApp, target: Option<postgres::Database>) {
    let ann = app.user("ann").await;
    let bob = app.user("bob").await;
    let general = ann.channel("general", &[&bob]).await;
    let secret = ann.private_channel("secret", &[]).await;
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let file = upload(&ann, "numbers.txt", bytes.clone()).await;
    let path = format!("/api/channels/{general}/messages");
    let message =
        ann.post(&path, &json!({ "content": "hello @bob 👋\n\"日本語\"", "file_ids": [file] })).await;
    let message = message.expect(201)["id"].as_i64().unwrap();
    let reply = bob.post(&path, &json!({ "content": "re", "parent_id": message })).await.expect(201);
    ann.say(secret, "hidden").await;
    let last = ann.say(general, "gone again").await;
    ann.delete(&format!("/api/messages/{last}")).await.expect(204);
    bob.patch(&format!("/api/messages/{}", reply["id"]), &json!({ "content": "re: hello" }))
        .await
        .expect(200);
    bob.post(&format!("/api/messages/{message}/reactions"), &json!({ "emoji": "🎉" })).await.expect(201);
    ann.put(&format!("/api/channels/{general}/pins/{message}"), &json!({})).await;
    ann.install_with_grants("kv-probe", guest("kv-probe")).await;
    let probe = ann.get("/api/admin/plugins/kv-probe").await.expect(200);
    let at_bobs = bob.socket().await;
    let seen = at_bobs.hello["seq"].as_i64().unwrap();
    drop(at_bobs);
    let before = picture(&ann, &bob, general, message).await;

    // While the server runs.
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("all.tar");
    done(app.command("backup", &[archive.to_str().unwrap()]).await);
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&archive.metadata().unwrap().permissions()) & 0o777,
        0o600
    );
    assert!(refused(app.command("backup", &[archive.to_str().unwrap()]).await).contains("exists"));
    // What comes after it is not in it. It is what a client can have seen that comes back after a restore.
    for n in 0..3 {
        ann.say(general, &format!("lost {n}")).await;
    }
    let mut at_bobs = bob.socket().await;
    let ahead = at_bobs.hello["seq"].as_i64().unwrap();
    assert!(ahead > seen);
    let text = refused(app.command("restore", &[archive.to_str().unwrap()]).await);
    assert!(text.contains("another server uses"), "{text}");
    assert!(at_bobs.call("heartbeat", json!({})).await["type"] == "heartbeat_ack", "it goes on undisturbed");
    assert!(app.stop().await);
    let text = refused(app.command("restore", &[archive.to_str().unwrap()]).await);
    assert!(text.contains("not empty"), "{text}");

    let app = TestApp::restored(&archive, target).await;
    let (ann, bob) = (ann.at(&app.url), bob.at(&app.url));
    // The tokens of before are good, and so are the passwords.
    assert_eq!(picture(&ann, &bob, general, message).await, before);
    app.login("ann").await;
    let refreshed =
        app.anonymous().post("/api/auth/refresh", &json!({ "refresh_token": bob.refresh_token })).await;
    refreshed.expect(200);
    let content =
        ann.request(reqwest::Method::GET, &format!("/api/files/{file}/download")).send().await.unwrap();
    assert_eq!(content.bytes().await.unwrap(), bytes);
    let restored = ann.get("/api/admin/plugins/kv-probe").await.expect(200);
    for field in ["digest", "state", "grants", "versions"] {
        assert_eq!(restored[field], probe[field], "{field}");
    }
    // Nobody's `seq` of before leads anywhere: it may count what is undone.
    for seq in [seen, ahead] {
        let (answer, events) = bob.socket().await.resume(seq).await;
        assert_eq!((&answer["type"], events.len()), (&json!("resync"), 0), "{answer}");
    }
    let at_bobs = bob.socket().await;
    let now = at_bobs.hello["seq"].as_i64().unwrap();
    drop(at_bobs);
    let next = ann.say(general, "and on").await;
    assert!(next > last, "an id is never used twice, {next} after {last}");
    let (answer, events) = bob.socket().await.resume(now).await;
    assert_eq!(answer["type"], "resumed");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["data"]["id"], next);
}

/// What both can see.
async fn picture(ann: &User, bob: &User, channel: i64, message: i64) -> Vec<Value> {
    let mut seen = Vec::new();
    for user in [ann, bob] {
        for path in [
            "/api/users/me".to_owned(),
            "/api/channels".to_owned(),
            format!("/api/channels/{channel}/members"),
            format!("/api/channels/{channel}/messages"),
            format!("/api/channels/{channel}/pins"),
            format!("/api/messages/{message}/thread"),
            format!("/api/messages/{message}/reactions"),
            format!("/api/messages/{}/history", message + 1),
        ] {
            let mut body = user.get(&path).await.expect(200);
            // What a socket that closes leaves behind.
            forget(&mut body, "last_seen");
            forget(&mut body, "status");
            seen.push(body);
        }
    }
    seen
}

fn forget(value: &mut Value, field: &str) {
    match value {
        Value::Object(map) => {
            map.remove(field);
            map.values_mut().for_each(|value| forget(value, field));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| forget(value, field)),
        _ => {}
    }
}

#[tokio::test]
async fn a_backup_under_load_is_of_one_moment_on_sqlite() {
    under_load(TestApp::start_on_sqlite().await).await;
}

#[tokio::test]
async fn a_backup_under_load_is_of_one_moment_on_postgres() {
    let Some(app) = TestApp::start_on_postgres().await else { return };
    under_load(app).await;
}

async fn under_load(app: TestApp) {
    let ann = app.user("ann").await;
    let general = ann.channel("general", &[]).await;
    let root = ann.say(general, "root").await;
    let enough = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..6)
        .map(|_| {
            let (ann, enough, count) = (ann.clone(), Arc::clone(&enough), Arc::clone(&count));
            tokio::spawn(async move {
                let path = format!("/api/channels/{general}/messages");
                while !enough.load(Ordering::Relaxed) {
                    let file = upload(&ann, "a.txt", b"abc".to_vec()).await;
                    let body = json!({ "content": "re", "parent_id": root, "file_ids": [file] });
                    let id = ann.post(&path, &body).await.expect(201)["id"].as_i64().unwrap();
                    if count.fetch_add(1, Ordering::Relaxed) % 3 == 0 {
                        ann.delete(&format!("/api/files/{file}")).await.expect(204);
                        ann.delete(&format!("/api/messages/{id}")).await.expect(204);
                    }
                }
            })
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let archives: Vec<_> = (0..4).map(|n| dir.path().join(format!("{n}.tar"))).collect();
    for (n, archive) in archives.iter().enumerate() {
        while count.load(Ordering::Relaxed) < 15 * n {
            tokio::task::yield_now().await;
        }
        done(app.command("backup", &[archive.to_str().unwrap()]).await);
    }
    enough.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let mut sizes = BTreeSet::new();
    for archive in &archives {
        let backup = Backup::read(archive);
        let messages = backup.rows("messages");
        sizes.insert(messages.len());
        let created: HashSet<i64> = backup
            .rows("events")
            .iter()
            .filter(|event| event["kind"] == "message.created" && !event["message_id"].is_null())
            .map(|event| event["message_id"].as_i64().unwrap())
            .collect();
        for message in &messages {
            assert!(created.contains(&message["id"].as_i64().unwrap()), "{message} without its event");
        }
        let replies = messages.iter().filter(|message| message["parent_id"] == root).count();
        let counted = messages.iter().find(|message| message["id"] == root).unwrap()["reply_count"].clone();
        assert_eq!(counted, replies);
        let seqs: Vec<_> = backup.rows("events").iter().map(|event| event["seq"].as_i64().unwrap()).collect();
        let head = backup.rows("journal_head")[0]["seq"].as_i64().unwrap();
        assert_eq!(seqs, (1..=head).collect::<Vec<_>>());
        let missing: HashSet<String> = backup.end["missing"]
            .as_array()
            .unwrap()
            .iter()
            .map(|path| path.as_str().unwrap().into())
            .collect();
        for file in backup.rows("files").iter().filter(|file| !file["sha256"].is_null()) {
            let path = file["file_path"].as_str().unwrap();
            let kept = backup.objects.get(path).is_some_and(|bytes| bytes == b"abc");
            assert!(kept != missing.contains(path), "{path} is either there or named");
        }
        // Each of them can be restored.
        TestApp::restored(archive, None).await.login("ann").await;
    }
    assert!(sizes.len() > 1, "nothing was written meanwhile: {sizes:?}");
}

#[tokio::test]
async fn every_table_is_in_it() {
    let app = TestApp::start_on_sqlite().await;
    app.user("ann").await;
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("all.tar");
    done(app.command("backup", &[archive.to_str().unwrap()]).await);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(app.data().join("patchbay.db"));
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    // The index of words and the tables behind it are made from others.
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
         AND name NOT LIKE 'message_index%' AND name NOT LIKE 'file_index%' ORDER BY name",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let backup = Backup::read(&archive);
    let copied: BTreeMap<String, usize> = backup.tables().into_iter().collect();
    for name in names.iter().filter(|name| *name != "_sqlx_migrations") {
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM \"{name}\"")))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(copied.get(name).copied(), Some(usize::try_from(rows).unwrap()), "{name}");
    }
    assert_eq!(copied.len(), names.len() - 1);
}

/// The rows of the text columns of a made-up archive, or one that has been tampered with, change nothing.
#[tokio::test]
async fn a_broken_archive_is_refused_and_changes_nothing() {
    let mut app = TestApp::start_on_sqlite().await;
    let ann = app.user("ann").await;
    upload(&ann, "a.txt", b"abc".to_vec()).await;
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("all.tar");
    assert!(app.stop().await);
    done(app.command("backup", &[archive.to_str().unwrap()]).await);
    let good = std::fs::read(&archive).unwrap();
    let at = |text: &str| good.windows(text.len()).position(|found| found == text.as_bytes()).unwrap();
    let mut flipped = good.clone();
    flipped[at("ann@example.org")] = b'x';
    let mut newer = good.clone();
    let schema = at("\"schema\": ") + 10;
    newer[schema] = b'9';
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("cut", good[..good.len() - 2048].to_vec(), ""),
        ("half", good[..good.len() / 2].to_vec(), ""),
        ("flipped", flipped, "digest"),
        ("newer", newer, "digest"),
        ("empty", Vec::new(), "no backup"),
        ("text", b"hello, this is no archive at all, whatever it looks like".to_vec(), ""),
    ];
    for (name, bytes, reason) in cases {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let target = dir.path().join(format!("{name}-data"));
        let text = refused(patchbay_tests::command(&target, &[], "restore", &[path.to_str().unwrap()]).await);
        assert!(
            text.contains(if reason.is_empty() { "can't be restored" } else { reason }),
            "{name}: {text}"
        );
        assert!(!target.join("patchbay.db").exists(), "{name}");
        assert_eq!(files_below(&target.join("files")), 0, "{name}");
        // And the place is as good as new.
        done(patchbay_tests::command(&target, &[], "restore", &[archive.to_str().unwrap()]).await);
        assert_eq!(files_below(&target.join("files")), 1, "{name}");
    }
    let text = refused(app.command("backup", &["/nowhere/at/all.tar"]).await);
    assert!(text.contains("/nowhere/at/all.tar"), "{text}");
    let nothing = tempfile::tempdir().unwrap();
    let text = refused(patchbay_tests::command(nothing.path(), &[], "backup", &["-"]).await);
    assert!(text.contains("no Patchbay database"), "{text}");
}

fn files_below(path: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|p| if p.is_dir() { files_below(&p) } else { 1 }).sum()
}

/// An archive by hand, with the digest that its content has: what the database refuses leaves nothing either.
#[tokio::test]
async fn rows_that_contradict_each_other_leave_nothing_behind() {
    let mut app = TestApp::start_on_sqlite().await;
    let ann = app.user("ann").await;
    let general = ann.channel("general", &[]).await;
    let file = upload(&ann, "a.txt", b"abc".to_vec()).await;
    let path = format!("/api/channels/{general}/messages");
    ann.post(&path, &json!({ "content": "hello", "file_ids": [file] })).await.expect(201);
    assert!(app.stop().await);
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("all.tar");
    done(app.command("backup", &[archive.to_str().unwrap()]).await);
    let broken = dir.path().join("broken.tar");
    Backup::read(&archive).write_without_table(&broken, "channels");
    for database in [None, postgres::database().await] {
        let target = tempfile::tempdir().unwrap();
        let settings: Vec<_> =
            database.iter().map(|database| format!("database.url={}", database.url)).collect();
        let restore = async |file: &Path| {
            patchbay_tests::command(target.path(), &settings, "restore", &[file.to_str().unwrap()]).await
        };
        refused(restore(&broken).await);
        assert_eq!(files_below(&target.path().join("files")), 0);
        done(restore(&archive).await);
    }
}

#[tokio::test]
async fn a_bundled_plugin_survives_a_restore_in_the_operators_version() {
    let app = TestApp::start_on_sqlite().await;
    let ann = app.user("ann").await;
    let mut bytes = component("reactions");
    bytes.extend_from_slice(&[0, 6, 4, b'n', b'o', b't', b'e', b'2']);
    let installed = ann.install("reactions", bytes).await.expect(200);
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("all.tar");
    done(app.command("backup", &[archive.to_str().unwrap()]).await);
    let restored = TestApp::restored(&archive, None).await;
    let found = ann.at(&restored.url).get("/api/admin/plugins/reactions").await.expect(200);
    assert_eq!(found["digest"], installed["digest"]);
}

/// A deployment as the first migration left it.
async fn old_deployment(dir: &Path) {
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("patchbay.db")).create_if_missing(true);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/sqlite");
    let migrations = sqlx::migrate::Migrator::new(migrations).await.unwrap();
    migrations.run_to(1, &mut connection).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO users (id, username, username_key, email, email_key, full_name, created_at, updated_at)
         VALUES (7, 'Ann', 'ann', 'a@example.org', 'a@example.org', 'Ann OLDTIMER', 1, 1);
         INSERT INTO presence (user_id, status) VALUES (7, 'online');",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}

#[tokio::test]
async fn an_old_archive_is_brought_up_to_date_and_a_newer_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    old_deployment(dir.path()).await;
    let archive = dir.path().join("all.tar");
    done(patchbay_tests::command(dir.path(), &[], "backup", &[archive.to_str().unwrap()]).await);
    let old = Backup::read(&archive);
    assert_eq!(old.manifest["schema"], 1);
    assert!(old.tables().iter().all(|(name, _)| name != "pins"));
    for database in [None, postgres::database().await] {
        let app = TestApp::restored(&archive, database).await;
        let bob = app.user("bob").await;
        assert_eq!(bob.id, 8);
        // The second migration makes names findable by what it computes of them.
        let found = bob.get("/api/users?query=oldtimer").await.expect(200);
        assert_eq!(found["items"][0]["id"], 7, "{found:#}");
    }
    let newer = dir.path().join("newer.tar");
    let mut backup = Backup::read(&archive);
    backup.manifest["schema"] = 9999.into();
    backup.write(&newer);
    for database in [None, postgres::database().await] {
        let target = tempfile::tempdir().unwrap();
        let settings: Vec<_> =
            database.iter().map(|database| format!("database.url={}", database.url)).collect();
        let text = refused(
            patchbay_tests::command(target.path(), &settings, "restore", &[newer.to_str().unwrap()]).await,
        );
        assert!(text.contains("newer Patchbay"), "{text}");
        done(
            patchbay_tests::command(target.path(), &settings, "restore", &[archive.to_str().unwrap()]).await,
        );
    }
}

#[tokio::test]
async fn the_key_that_seals_secrets_comes_along() {
    let mut app = TestApp::start_on_sqlite().await;
    app.user("ann").await;
    let key = std::fs::read(app.data().join("secret.key")).unwrap();
    assert!(app.stop().await);
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("all.tar");
    done(app.command("backup", &[archive.to_str().unwrap()]).await);
    let restored = TestApp::restored(&archive, None).await;
    let copy = restored.data().join("secret.key");
    assert_eq!(std::fs::read(&copy).unwrap(), key);
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&copy.metadata().unwrap().permissions()) & 0o777,
        0o600
    );
}

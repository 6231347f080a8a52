//! Signing keys: sealed in the database, replaced while the server runs and while it doesn't.

use patchbay_tests::{TestApp, User, json};
use sqlx::Row;

/// Secret and seal of each signing key, the newest last.
async fn kept(app: &TestApp) -> Vec<(Vec<u8>, Option<String>)> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(app.data().join("patchbay.db"));
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let rows = sqlx::query("SELECT secret, sealed_by FROM signing_keys ORDER BY created_at");
    let rows = rows.fetch_all(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    rows.into_iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn key_id(token: &str) -> &str {
    token.split('.').next().unwrap()
}

async fn starts_not(app: &TestApp) -> String {
    app.run(&["serve", "--listen", "127.0.0.1:0"], "").await.expect_failure()
}

#[tokio::test]
async fn keys_are_sealed_in_the_database_and_open_after_a_restart() {
    let mut app = TestApp::start().await;
    let ann = app.user("ann").await;
    let keys = kept(&app).await;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].0.len(), 24 + 32 + 16, "nonce, secret and tag");
    app.kill().await;
    app.restart().await;
    ann.at(&app.url).get("/api/users/me").await.expect(200);
}

/// What an earlier version has left behind.
#[tokio::test]
async fn a_key_in_the_clear_is_sealed_at_start_and_signs_on() {
    let mut app = TestApp::start().await;
    let ann = app.user("ann").await;
    assert!(app.stop().await);
    std::fs::remove_file(app.data().join("secret.key")).unwrap();
    app.sql("UPDATE signing_keys SET secret = x'0101010101010101010101010101010101010101010101010101010101010101', sealed_by = NULL").await;
    app.restart().await;
    ann.at(&app.url).get("/api/users/me").await.problem(401);
    let ann = app.login("ann").await;
    let keys = kept(&app).await;
    assert!(keys.len() == 1 && keys[0].0.len() == 72 && keys[0].1.is_some());
    app.kill().await;
    app.restart().await;
    ann.at(&app.url).get("/api/users/me").await.expect(200);
}

#[tokio::test]
async fn a_rotated_key_signs_at_once_and_the_old_one_verifies_until_its_tokens_have_expired() {
    let app = TestApp::start().await;
    let (before, elsewhere) = (app.user("ann").await, app.login("ann").await);
    assert_eq!(key_id(&before.token), key_id(&elsewhere.token));
    app.run(&["keys", "rotate"], "").await.expect();
    let after = app.login("ann").await;
    assert_ne!(key_id(&after.token), key_id(&before.token));
    for user in [&before, &after] {
        user.get("/api/users/me").await.expect(200);
    }
    let log = after.get("/api/admin/audit?action=keys.rotated").await.expect(200);
    assert_eq!(log["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn retired_keys_are_removed_once_they_are_of_no_use() {
    let mut app = TestApp::start().await;
    app.user("ann").await;
    assert!(app.stop().await);
    app.run(&["keys", "rotate"], "").await.expect();
    assert_eq!(kept(&app).await.len(), 2);
    app.sql("UPDATE signing_keys SET retired_at = 1000 WHERE retired_at IS NOT NULL").await;
    app.restart().await;
    // The rounds begin with the start.
    for _ in 0..500 {
        if kept(&app).await.len() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(kept(&app).await.len(), 1);
    app.login("ann").await.get("/api/users/me").await.expect(200);
}

#[tokio::test]
async fn another_master_key_seals_everything_anew() {
    let mut app = TestApp::start().await;
    let ann = app.user("ann").await;
    let file = app.data().join("secret.key");
    let (key, sealed) = (std::fs::read_to_string(&file).unwrap(), kept(&app).await);
    app.run(&["keys", "rekey"], "").await.expect();
    let resealed = kept(&app).await;
    assert_ne!(std::fs::read_to_string(&file).unwrap(), key);
    assert!(resealed[0] != sealed[0] && resealed[0].1 != sealed[0].1);
    ann.get("/api/users/me").await.expect(200);
    app.run(&["keys", "rotate"], "").await.expect();
    assert!(app.stop().await);
    app.run(&["keys", "rekey"], "").await.expect();
    app.restart().await;
    ann.at(&app.url).get("/api/users/me").await.expect(200);
    assert!(!app.data().join("secret.key.new").exists());
}

/// Killed between the commit and the change of the file.
#[tokio::test]
async fn a_change_of_the_master_key_that_was_cut_off_is_completed() {
    let mut app = TestApp::start().await;
    let ann = app.user("ann").await;
    assert!(app.stop().await);
    let (file, next) = (app.data().join("secret.key"), app.data().join("secret.key.new"));
    let old = std::fs::read(&file).unwrap();
    app.run(&["keys", "rekey"], "").await.expect();
    std::fs::rename(&file, &next).unwrap();
    std::fs::write(&file, old).unwrap();
    app.restart().await;
    ann.at(&app.url).get("/api/users/me").await.expect(200);
    assert!(!next.exists());
    // And one that never came to its commit is forgotten.
    assert!(app.stop().await);
    std::fs::write(&next, "x".repeat(43)).unwrap();
    app.restart().await;
    ann.at(&app.url).get("/api/users/me").await.expect(200);
    assert!(!next.exists());
}

#[tokio::test]
async fn without_the_right_master_key_the_server_says_what_to_do() {
    let mut app = TestApp::start().await;
    let ann = app.user("ann").await;
    assert!(app.stop().await);
    let file = app.data().join("secret.key");
    let right = std::fs::read(&file).unwrap();
    for (wrong, expected) in [
        (None, "secret.key is missing, but the secrets in the database are sealed with master key"),
        (Some("A".repeat(43)), "secret.key is master key"),
        (Some("nonsense".into()), "secret.key does not hold a master key"),
    ] {
        let _ = std::fs::remove_file(&file);
        if let Some(wrong) = wrong {
            std::fs::write(&file, wrong).unwrap();
        }
        let why = starts_not(&app).await;
        assert!(why.contains(expected), "{why}");
    }
    std::fs::write(&file, right).unwrap();
    app.restart().await;
    ann.at(&app.url).get("/api/users/me").await.expect(200);

    assert!(app.stop().await);
    std::fs::remove_file(&file).unwrap();
    assert!(app.run(&["keys", "reset"], "").await.expect().contains("1 sealed secrets were dropped"));
    app.restart().await;
    ann.at(&app.url).get("/api/users/me").await.problem(401);
    let refresh = json!({ "refresh_token": ann.refresh_token });
    let tokens = app.anonymous().post("/api/auth/refresh", &refresh).await.expect(200);
    User::logged_in(&app.url, &tokens).get("/api/users/me").await.expect(200);
}

#[tokio::test]
async fn the_master_key_can_come_from_the_settings() {
    let (first, second) = ("k".repeat(42) + "g", "m".repeat(42) + "g");
    let mut app = TestApp::start_with(&[&format!("auth.master_key={first}")]).await;
    let ann = app.user("ann").await;
    assert!(!app.data().join("secret.key").exists());
    let refused = app.run(&["keys", "rekey"], "").await.expect_failure();
    assert!(refused.contains("new_key is needed"), "{refused}");
    let refused = app.run(&["keys", "rekey", "--new-key-stdin"], "short").await.expect_failure();
    assert!(refused.contains("new_key must be 32 bytes in base64"), "{refused}");
    app.run(&["keys", "rekey", "--new-key-stdin"], &second).await.expect();
    ann.get("/api/users/me").await.expect(200);
    assert!(app.stop().await);
    assert!(starts_not(&app).await.contains("auth.master_key is master key"));
    app.unset("auth.master_key");
    let file = app.data().join("mounted");
    std::fs::write(&file, &second).unwrap();
    app.set(&[&format!("auth.master_key_file={}", file.display())]);
    app.restart().await;
    ann.at(&app.url).get("/api/users/me").await.expect(200);
    app.set(&[&format!("auth.master_key={second}")]);
    let ran = app.run(&["check-config"], "").await;
    assert!(ran.code == Some(2) && ran.errors.contains("only one of them can be set"), "{ran:?}");
    let ran = app.run(&["config"], "").await;
    assert!(!format!("{ran:?}").contains(&second));
}

//! Made-up data: the same for the same seed, consistent, and good to work with.

use std::process::Output;

use patchbay_tests::{Backup, TestApp, Value, command, json, postgres};

const AMOUNTS: [&str; 16] = [
    "--users",
    "30",
    "--channels",
    "15",
    "--messages",
    "3000",
    "--files",
    "9",
    "--reactions",
    "700",
    "--seed",
    "7",
    "--now",
    "1767225600",
    "--password",
    "correct horse",
];

#[track_caller]
fn done(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that is made up, as a backup shows it, without what is random by intent.
async fn made(database: Option<&postgres::Database>) -> (tempfile::TempDir, Backup) {
    let data = tempfile::tempdir().unwrap();
    let settings: Vec<_> = database.iter().map(|database| format!("database.url={}", database.url)).collect();
    let said = done(command(data.path(), &settings, "seed-data", &AMOUNTS).await);
    assert!(said.contains("\"anna\"") && said.contains("\"correct horse\""), "{said}");
    let archive = data.path().join("all.tar");
    done(command(data.path(), &settings, "backup", &[archive.to_str().unwrap()]).await);
    let backup = Backup::read(&archive);
    (data, backup)
}

fn rows(backup: &Backup, table: &str) -> Vec<Value> {
    let mut rows = backup.rows(table);
    for row in &mut rows {
        row.as_object_mut().unwrap().remove("hashed_password");
    }
    rows
}

#[tokio::test]
async fn the_same_seed_makes_the_same_data_up_on_either_database() {
    let (_one, first) = made(None).await;
    let (_two, second) = made(None).await;
    let database = postgres::database().await;
    let third = match &database {
        Some(database) => Some(made(Some(database)).await),
        None => None,
    };
    let tables = [
        "users",
        "presence",
        "channels",
        "channel_members",
        "messages",
        "message_mentions",
        "message_edits",
        "reactions",
        "files",
        "journal_head",
    ];
    for table in tables {
        let expected = rows(&first, table);
        assert!(!expected.is_empty(), "{table}");
        assert_eq!(rows(&second, table), expected, "{table}");
        if let Some((_, third)) = &third {
            assert_eq!(rows(third, table), expected, "{table}");
        }
    }
    assert_eq!(first.objects, second.objects);
    let count = |table: &str| first.rows(table).len();
    let counts = ["users", "channels", "messages", "files", "reactions"].map(count);
    assert_eq!(counts, [30, 15, 3000, 9, 700]);
    let messages = first.rows("messages");
    assert!(
        messages.is_sorted_by_key(|message| message["created_at"].as_i64().unwrap()),
        "ids rise with time"
    );
    assert_eq!(messages.last().unwrap()["created_at"], 1_767_225_600_000_i64);
    for message in &messages {
        let replies = messages.iter().filter(|reply| reply["parent_id"] == message["id"]).count();
        assert_eq!(message["reply_count"], replies);
    }
}

#[tokio::test]
async fn made_up_data_can_be_worked_with() {
    let (data, backup) = made(None).await;
    let app = TestApp::start_in(data).await;
    let anna = app.login("anna").await;
    let channels = anna.get("/api/channels?limit=200").await.expect(200);
    let channels = channels["items"].as_array().unwrap();
    assert!(
        channels.iter().any(|channel| channel["is_direct_message"] == true || channel["is_public"] == false)
    );
    assert!(channels.iter().any(|channel| channel["unread_count"].as_i64().unwrap() > 0));
    let page = anna.get("/api/channels/1/messages?limit=200").await.expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 200);
    let file = backup.rows("files").into_iter().find(|file| file["file_type"] == "application/pdf").unwrap();
    let owner = file["uploaded_by_id"].as_i64().unwrap();
    let owner = backup.rows("users").into_iter().find(|user| user["id"] == owner).unwrap();
    let owner = app.login(owner["username"].as_str().unwrap()).await;
    let content = owner.get(&format!("/api/files/{}/download", file["id"])).await.expect(200);
    assert!(content.as_str().unwrap().starts_with("%PDF-1.4"), "{content}");
    let next = anna.say(1, "and this is not made up").await;
    assert_eq!(next, 3001);
    assert_eq!(app.user("somebody").await.id, 31);
    let (answer, _) = anna.socket().await.resume(0).await;
    assert_eq!(answer["type"], "resumed", "history has no events");
    let output = app.command("seed-data", &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another server"));
}

#[tokio::test]
async fn made_up_data_goes_nowhere_else_and_has_bounds() {
    let data = tempfile::tempdir().unwrap();
    done(
        command(
            data.path(),
            &[],
            "seed-data",
            &["--users", "2", "--channels", "1", "--messages", "5", "--files", "0", "--reactions", "3"],
        )
        .await,
    );
    for (arguments, code, text) in [
        (vec!["--users", "3"], 1, "not empty"),
        (vec!["--users=-1"], 2, "--users"),
        (vec!["--messages", "1000000000"], 2, "--messages"),
        (vec!["--messages", "1", "--files", "2", "--reactions", "0"], 1, "more files than messages"),
        (vec!["--messages", "1", "--files", "0", "--reactions", "900"], 1, "so many reactions"),
        (vec!["--users", "0"], 1, "need users"),
        (vec!["--password", "short"], 1, "password"),
    ] {
        let output = command(data.path(), &[], "seed-data", &arguments).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(text), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn a_demonstration_is_filled_once_and_only_shown_here() {
    let mut app = TestApp::start_as_demo().await;
    let anna = app.login("anna").await;
    assert_eq!(anna.get("/api/users/me").await.expect(200)["is_superuser"], true);
    let id = anna.say(1, "mine").await;
    assert!(app.stop().await);
    app.restart().await;
    let anna = app.login("anna").await;
    let kept = anna.get(&format!("/api/messages/{id}")).await.expect(200);
    assert_eq!(kept["content"], json!("mine"));
    let data = tempfile::tempdir().unwrap();
    let output = command(data.path(), &["server.listen=0.0.0.0:0".into()], "serve", &["--demo"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("this machine only"));
}

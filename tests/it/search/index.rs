//! The index: how it comes to a database that was there before, how it is made anew, what backups make of it.

use patchbay_tests::{Backup, TestApp, User, json, postgres};

use super::{found, ids, search, servers};

/// Takes everything out of the index behind the server's back.
async fn lose(app: &TestApp) {
    match app.database_url() {
        Some(_) => app.sql("TRUNCATE message_index, file_index").await,
        None => {
            app.sql(
                "INSERT INTO message_index (message_index) VALUES ('delete-all');
                 INSERT INTO file_index (file_index) VALUES ('delete-all')",
            )
            .await;
        }
    }
}

async fn complete(root: &User) {
    let is_complete = |state: &patchbay_tests::Value| {
        state["indexes"].as_array().unwrap().iter().all(|index| index["is_complete"] == true)
    };
    root.until("/api/admin/search", is_complete).await;
}

#[tokio::test]
async fn a_database_from_before_is_indexed_behind_the_server() {
    for mut app in servers().await {
        let ann = app.user("ann").await;
        let channel = ann.channel("general", &[]).await;
        let mut before = Vec::new();
        for n in 0..5 {
            before.push(ann.say(channel, &format!("walrus {n}")).await);
        }
        let file = ann.upload("walrus.txt", "text/plain", "tusks").await.expect(201)["id"].as_i64().unwrap();
        ann.until("/api/admin/search", |state| state["files_waiting"] == 0).await;
        assert!(app.stop().await);
        lose(&app).await;
        // As the migration leaves it.
        app.sql("UPDATE search_progress SET version = 0, at = 0, until = 0").await;
        app.sql("DELETE FROM file_texts").await;
        app.restart().await;
        let ann = ann.at(&app.url);
        complete(&ann).await;
        before.push(ann.say(channel, "walrus").await);
        before.sort_unstable();
        let mut seen = found(&ann, "walrus").await;
        seen.sort_unstable();
        assert_eq!(seen, before);
        ann.until("/api/admin/search", |state| state["files_waiting"] == 0).await;
        for q in ["walrus", "tusks"] {
            assert_eq!(ids(&search(&ann, "files", &[("q", q)]).await.expect(200), "file"), [file]);
        }

        // One that was interrupted goes on where it was.
        assert!(app.stop().await);
        lose(&app).await;
        app.sql("UPDATE search_progress SET at = 3, until = 5 WHERE name = 'messages'").await;
        app.restart().await;
        let ann = ann.at(&app.url);
        complete(&ann).await;
        assert_eq!(found(&ann, "walrus -nothing").await.len(), 2, "4 and 5");
    }
}

#[tokio::test]
async fn the_index_is_made_anew_while_the_server_serves_or_not() {
    for mut app in servers().await {
        let (ann, bob) = (app.user("ann").await, app.user("bob").await);
        let channel = ann.channel("general", &[]).await;
        for n in 0..450 {
            ann.say(channel, &format!("walrus {n}")).await;
        }
        let deleted = ann.say(channel, "walrus goes").await;
        lose(&app).await;
        assert_eq!(found(&ann, "walrus").await, [] as [i64; 0]);
        ann.delete(&format!("/api/messages/{deleted}")).await.expect(204);
        let said = app.run(&["search", "reindex"], "").await.expect();
        assert!(said.contains("messages: complete") && said.contains("files: complete"), "{said}");
        assert_eq!(found(&ann, "\"walrus 449\"").await.len(), 1);
        assert_eq!(found(&ann, "goes").await, [] as [i64; 0]);
        let metrics = ann.get("/metrics").await.expect(200);
        let metrics = metrics.as_str().unwrap();
        assert!(metrics.contains("patchbay_search_index_behind{index=\"messages\"} 0"), "{metrics}");

        bob.get("/api/admin/search").await.problem(403);
        bob.post("/api/admin/search/reindex", &json!({})).await.problem(403);
        let begun = ann.post("/api/admin/search/reindex", &json!({})).await.expect(202);
        assert_eq!(begun["indexes"][0]["name"], "messages");
        // What is there is found meanwhile.
        assert_eq!(found(&ann, "\"walrus 3\"").await.len(), 1);
        complete(&ann).await;
        let audit = ann.get("/api/admin/audit?action=search.reindexed").await.expect(200);
        assert_eq!(audit["items"].as_array().unwrap().len(), 2);

        assert!(app.stop().await);
        lose(&app).await;
        app.run(&["search", "reindex"], "").await.expect();
        let status = app.run(&["search", "status"], "").await.expect();
        assert!(status.contains("messages: complete"), "{status}");
        app.restart().await;
        assert_eq!(found(&ann.at(&app.url), "\"walrus 3\"").await.len(), 1);
    }
}

#[tokio::test]
async fn a_restored_copy_is_searched_on_either_database() {
    for app in servers().await {
        let ann = app.user("ann").await;
        let channel = ann.channel("general", &[]).await;
        let id = ann.say(channel, "walrus").await;
        ann.upload("a.txt", "text/plain", "tusks").await.expect(201);
        ann.until("/api/admin/search", |state| state["files_waiting"] == 0).await;
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("all.tar");
        let output = app.command("backup", &[archive.to_str().unwrap()]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(Backup::read(&archive).tables().iter().all(|(name, _)| !name.ends_with("_index")));
        let mut restored = vec![TestApp::restored(&archive, None).await];
        if let Some(database) = postgres::database().await {
            restored.push(TestApp::restored(&archive, Some(database)).await);
        }
        for copy in restored {
            let ann = copy.login("ann").await;
            complete(&ann).await;
            assert_eq!(found(&ann, "walrus").await, [id]);
            assert_eq!(
                search(&ann, "files", &[("q", "tusks")]).await.expect(200)["items"].as_array().unwrap().len(),
                1
            );
            ann.say(channel, "walrus").await;
            assert_eq!(found(&ann, "walrus").await.len(), 2);
        }
    }
}

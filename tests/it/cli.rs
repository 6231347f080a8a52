//! `patchbay user …`, with a server that runs and with one that doesn't.

use std::os::unix::fs::PermissionsExt;

use patchbay_tests::{TestApp, json};

#[tokio::test]
async fn commands_reach_a_server_that_runs() {
    for app in [Some(TestApp::start().await), TestApp::start_on_postgres().await].into_iter().flatten() {
        let root = app.user("root").await;
        let mode = std::fs::metadata(app.data().join("control.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let create = ["user", "create", "ann", "--email", "ann@example.org", "--password-stdin"];
        assert_eq!(app.run(&create, "correct horse\n").await.expect(), "ann was created with id 2\n");
        let ann = app.login("ann").await;
        let mut socket = ann.socket().await;
        assert!(app.run(&["user", "deactivate", "ann"], "").await.expect().contains("ann is inactive"));
        assert_eq!(socket.close_code().await, 4401, "the server has heard of it");
        assert_eq!(ann.get("/api/users/me").await.problem(401), "unauthenticated");
        app.run(&["user", "activate", "ann@example.org"], "").await.expect();
        let ann = app.login("ann").await;
        let mut socket = ann.socket().await;
        app.run(&["user", "set-password", "ann", "--password-stdin"], "battery staple").await.expect();
        assert_eq!(socket.close_code().await, 4401);
        let login = json!({ "username": "ann", "password": "battery staple" });
        app.anonymous().post("/api/auth/login", &login).await.expect(200);
        app.run(&["user", "promote", "ann"], "").await.expect();
        app.run(&["user", "demote", "root"], "").await.expect();
        root.get("/api/admin/users").await.problem(403);
        let refused = app.run(&["user", "demote", "ann"], "").await.expect_failure();
        assert!(refused.contains("the last superuser"), "{refused}");
        let listed = app.run(&["user", "list"], "").await.expect();
        assert_eq!(listed, "1\troot\troot@example.org\t\n2\tann\tann@example.org\tsuperuser\n");
        assert_eq!(app.run(&["user", "list", "roo"], "").await.expect().lines().count(), 1);
    }
}

#[tokio::test]
async fn commands_do_without_a_server() {
    for app in [Some(TestApp::start().await), TestApp::start_on_postgres().await].into_iter().flatten() {
        let mut app = app;
        let before = app.user("root").await;
        app.kill().await;
        assert!(app.data().join("control.sock").exists(), "a killed server leaves its socket");
        let create = ["user", "create", "ann", "--email", "a@example.org", "--superuser", "--password-stdin"];
        app.run(&create, "correct horse").await.expect();
        app.run(&["user", "deactivate", "root"], "").await.expect();
        let refused = app.run(&create, "correct horse").await.expect_failure();
        assert!(refused.contains("is taken"), "{refused}");
        app.restart().await;
        let ann = app.login("ann").await;
        assert_eq!(before.at(&app.url).get("/api/users/me").await.problem(401), "unauthenticated");
        let log = ann.get("/api/admin/audit?actor=operator&action=user.deactivated").await.expect(200);
        assert_eq!(log["items"][0]["target"], "user:1");
        assert_eq!(log["items"][0]["actor"], json!(null));
        // The socket is the new server's own.
        app.run(&["user", "activate", "root"], "").await.expect();
        assert!(app.stop().await);
        assert!(!app.data().join("control.sock").exists());
    }
}

#[tokio::test]
async fn commands_say_what_is_wrong() {
    let app = TestApp::start().await;
    app.user("root").await;
    let create = |name: &'static str, email: &'static str, password: &'static str| {
        let app = &app;
        async move {
            let arguments = ["user", "create", name, "--email", email, "--password-stdin"];
            app.run(&arguments, password).await.expect_failure()
        }
    };
    let refused = create("a b", "nonsense", "short").await;
    for field in ["username may contain", "email must be", "password must have 8"] {
        assert!(refused.contains(field), "{refused}");
    }
    assert!(create("bob", "ROOT@example.org", "correct horse").await.contains("e-mail address is taken"));
    let refused = app.run(&["user", "deactivate", "nobody"], "").await.expect_failure();
    assert!(refused.contains("there is no such user"), "{refused}");
    let ran =
        app.run(&["user", "create", "bob", "--email", "b@example.org", "--password", "secret"], "").await;
    assert_eq!(ran.code, Some(2), "a password in the arguments is no option: {ran:?}");
}

/// What the control socket has beyond the rest is not to be had by network.
#[tokio::test]
async fn control_paths_are_not_on_the_network() {
    let app = TestApp::start().await;
    let root = app.user("root").await;
    assert_eq!(root.post("/control/users", &json!({})).await.problem(404), "not_found");
    assert_eq!(root.post("/control/keys/rotate", &json!({})).await.problem(404), "not_found");
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_said_and_costs_only_the_commands() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let app = TestApp::start_below(&deep).await;
    app.user("root").await;
    assert!(app.log().contains("there is no control socket"), "{}", app.log());
    let refused = app.run(&["user", "list"], "").await.expect_failure();
    assert!(refused.contains("another server uses this data directory"), "{refused}");
}

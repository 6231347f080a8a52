//! Settings and the command line.

use std::process::Command;

use patchbay_tests::{TestApp, json, program};

fn check(directory: &std::path::Path, file: &str, variables: &[(&str, &str)]) -> (bool, String) {
    std::fs::write(directory.join("patchbay.toml"), file).unwrap();
    let output = Command::new(program())
        .arg("check-config")
        .current_dir(directory)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn wrong_settings_are_refused_with_name_line_and_what_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let (fine, _) = check(dir.path(), "[server]\nlisten = \"127.0.0.1:1\"\n", &[]);
    assert!(fine);
    for (file, expected) in [
        (
            "[server]\n\nlisen = \"x\"\n",
            "patchbay.toml:3: server.lisen: unknown setting; [server] has listen, data_dir",
        ),
        (
            "[sever]\nlisten = \"x\"\n",
            "patchbay.toml:2: sever.listen: unknown setting; the sections are server",
        ),
        (
            "[auth]\naccess_ttl = 15\n",
            "patchbay.toml:2: auth.access_ttl: \"15\" is not allowed; expected a duration",
        ),
        (
            "[auth]\nregistration = \"maybe\"\n",
            "patchbay.toml:2: auth.registration: \"maybe\" is not allowed; expected open, invite or closed",
        ),
        (
            "[plugins.reactions]\nsauce = 1\n",
            "patchbay.toml:2: plugins.reactions.sauce: unknown setting; a plugin has source",
        ),
        (
            "[plugins.reactions.limits]\nhttp_cpu = 1\n",
            "patchbay.toml:2: plugins.reactions.limits.http_cpu: there is no such limit; there are memory_bytes, http_cpu_ms",
        ),
        (
            "[plugins.reactions.limits]\nhttp_cpu_ms = 0\n",
            "plugins.reactions.limits.http_cpu_ms: \"0\" is not allowed; expected a whole number from 1 to 60000",
        ),
        ("[plugins]\ntrusted_keys = [\"x\"]\n", "plugins.trusted_keys: \"x\" is no minisign public key"),
        ("[server\n", "patchbay.toml:1:"),
    ] {
        let (fine, text) = check(dir.path(), file, &[]);
        assert!(!fine && text.contains(expected), "{file}: {text}");
    }
    let (fine, text) = check(dir.path(), "", &[("PATCHBAY_SERVER__LISTEN", "nowhere")]);
    assert!(!fine && text.contains("PATCHBAY_SERVER__LISTEN: server.listen: \"nowhere\""), "{text}");
    let (fine, text) = check(dir.path(), "", &[("PATCHBAY_SERVER__NONSENSE", "1")]);
    assert!(!fine && text.contains("PATCHBAY_SERVER__NONSENSE: server.nonsense: unknown setting"), "{text}");
    let (fine, text) = check(dir.path(), "", &[("PATCHBAY_PORT", "tcp://10.0.0.1:80")]);
    assert!(fine, "an orchestrator's variable is no setting: {text}");
}

#[test]
fn a_flag_beats_a_variable_beats_the_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("patchbay.toml"), "[auth]\naccess_ttl = \"1m\"\nsession_ttl = \"1d\"\n")
        .unwrap();
    let output = Command::new(program())
        .args(["config", "--set", "log.filter=debug"])
        .current_dir(dir.path())
        .env_clear()
        .env("PATCHBAY_AUTH__ACCESS_TTL", "2m")
        .env("PATCHBAY_LOG__FILTER", "warn")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "auth.access_ttl = \"2m\"",
        "from PATCHBAY_AUTH__ACCESS_TTL",
        "auth.session_ttl = \"1d\"",
        "from patchbay.toml:3",
        "log.filter = \"debug\"",
        "from --set",
        "journal.retention = \"24h\"",
        "from default",
    ] {
        assert!(text.contains(expected), "{expected} is missing: {text}");
    }
}

#[tokio::test]
async fn a_data_directory_has_one_server() {
    let app = TestApp::start().await;
    let output = Command::new(program())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(app.data())
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("another server uses this data directory"), "{text}");
}

#[tokio::test]
async fn declared_plugins_are_managed_by_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("whoami.wasm");
    std::fs::write(&source, patchbay_tests::guest("whoami")).unwrap();
    let source = format!("plugins.whoami.source={}", source.display());
    let app = TestApp::start_with(&[&source, "plugins.reactions.enabled=false"]).await;
    let ann = app.user("ann").await;
    let plugin = ann.get("/api/admin/plugins/whoami").await.expect(200);
    assert_eq!(plugin["state"], "active", "{plugin:#}");
    assert_eq!(ann.get("/api/admin/plugins/reactions").await.expect(200)["state"], "disabled");
    let answer = ann.patch("/api/admin/plugins/reactions", &json!({ "enabled": true })).await;
    assert_eq!(answer.problem(409), "managed_by_settings");
    assert_eq!(ann.get("/api/messages/1/reactions").await.problem(404), "not_found");
}

//! Components signed with minisign.

use std::io::Cursor;

use minisign::KeyPair;
use patchbay_tests::{Answer, TestApp, User, guest, json};

/// The text of a `.minisig` file.
fn sign(keys: &KeyPair, bytes: &[u8]) -> String {
    let (trusted, untrusted) = (Some("whoami 0.1.0"), Some("a plugin"));
    let signed = minisign::sign(Some(&keys.pk), &keys.sk, Cursor::new(bytes), trusted, untrusted);
    signed.unwrap().into_string()
}

/// The id as minisign shows it.
fn id(keys: &KeyPair) -> String {
    keys.pk.keynum().iter().rev().map(|byte| format!("{byte:02X}")).collect()
}

async fn install(ann: &User, component: Vec<u8>, signature: &str) -> Answer {
    let request = ann.request(reqwest::Method::PUT, "/api/admin/plugins/whoami");
    let request =
        request.header("content-type", "application/wasm").header("x-patchbay-signature", signature);
    ann.send(request.body(component)).await
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn unsigned_and_wrongly_signed_components_are_refused_where_signatures_are_required() {
    let (maker, stranger) =
        (KeyPair::generate_unencrypted_keypair().unwrap(), KeyPair::generate_unencrypted_keypair().unwrap());
    let trusted = format!("plugins.trusted_keys={}", maker.pk.to_base64());
    let app = TestApp::start_with(&["plugins.require_signature=true", &trusted]).await;
    let ann = app.user("ann").await;
    assert_eq!(ann.get("/api/admin/plugins/reactions").await.expect(200)["state"], "active", "bundled");
    let whoami = guest("whoami");
    assert_eq!(ann.install("whoami", whoami.clone()).await.problem(422), "signature_missing");
    let good = sign(&maker, &whoami);
    let another = sign(&maker, b"something else");
    let mut renamed_comment = good.clone();
    renamed_comment = renamed_comment.replace("whoami 0.1.0", "whoami 9.9.9");
    for (signature, code) in [
        (base64(&sign(&stranger, &whoami)), "signature_untrusted"),
        (base64(&another), "signature_invalid"),
        (base64(&renamed_comment), "signature_invalid"),
        (base64("nonsense"), "signature_invalid"),
        ("%%%".to_owned(), "signature_invalid"),
        (String::new(), "signature_invalid"),
    ] {
        assert_eq!(install(&ann, whoami.clone(), &signature).await.problem(422), code, "{signature}");
    }
    ann.get("/api/admin/plugins/whoami").await.problem(404);
    let installed = install(&ann, whoami, &base64(&good)).await.expect(201);
    assert_eq!(installed["versions"][0]["signed_by"], id(&maker));
    let log = ann.get("/api/admin/audit?action=plugin.installed").await.expect(200);
    assert_eq!(log["items"][0]["detail"]["signed_by"], id(&maker), "{log:#}");
}

#[tokio::test]
async fn a_signature_that_is_there_is_checked_though_none_is_required() {
    let (maker, stranger) =
        (KeyPair::generate_unencrypted_keypair().unwrap(), KeyPair::generate_unencrypted_keypair().unwrap());
    let trusted = format!("plugins.trusted_keys={}", maker.pk.to_base64());
    let app = TestApp::start_with(&[&trusted]).await;
    let ann = app.user("ann").await;
    let whoami = guest("whoami");
    for (signature, code) in
        [(sign(&maker, b"else"), "signature_invalid"), (sign(&stranger, &whoami), "signature_untrusted")]
    {
        assert_eq!(install(&ann, whoami.clone(), &base64(&signature)).await.problem(422), code);
    }
    let unsigned = ann.install("whoami", whoami.clone()).await.expect(201);
    assert_eq!(unsigned["versions"][0]["signed_by"], json!(null));
    let signed = install(&ann, whoami.clone(), &base64(&sign(&maker, &whoami))).await.expect(200);
    assert_eq!(signed["versions"][0]["signed_by"], id(&maker));
}

/// The settings name a file; its signature lies beside it. So does the one of what the command line installs.
#[tokio::test]
async fn signatures_lie_beside_the_files() {
    let maker = KeyPair::generate_unencrypted_keypair().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let whoami = guest("whoami");
    std::fs::write(file("whoami.wasm"), &whoami).unwrap();
    let source = format!("plugins.whoami.source={}", file("whoami.wasm").display());
    let trusted = format!("plugins.trusted_keys={}", maker.pk.to_base64());
    let mut app = TestApp::start_with(&["plugins.require_signature=true", &trusted, &source]).await;
    let ann = app.user("ann").await;
    app.expect_error("only signed components are accepted here");
    ann.get("/api/admin/plugins/whoami").await.problem(404);
    app.kill().await;
    std::fs::write(file("whoami.wasm.minisig"), sign(&maker, &whoami)).unwrap();
    app.restart().await;
    let ann = ann.at(&app.url);
    let plugin = ann.get("/api/admin/plugins/whoami").await.expect(200);
    assert_eq!(
        (&plugin["state"], &plugin["versions"][0]["signed_by"]),
        (&json!("active"), &json!(id(&maker)))
    );
    let trap = guest("trap");
    std::fs::write(file("trap.wasm"), &trap).unwrap();
    let install = ["plugin", "install", file("trap.wasm").to_str().unwrap()].map(str::to_owned);
    let install: Vec<_> = install.iter().map(String::as_str).collect();
    assert!(app.run(&install, "").await.expect_failure().contains("only signed components"));
    std::fs::write(file("trap.wasm.minisig"), sign(&maker, &trap)).unwrap();
    assert_eq!(app.run(&install, "").await.expect(), "trap\t0.1.0\tactive\n");
}

//! The component itself, on the mock host.

use std::time::Duration;

use patchbay_sdk::{json, mock::Mock};

/// What `cargo xtask plugins` makes.
const COMPONENT: &str = "../../target/plugins/bots.wasm";

#[test]
fn a_receiver_that_fails_keeps_nobody_up() {
    let mock = Mock::load(COMPONENT);
    mock.user("ann");
    mock.channel("general", &["ann"]);
    mock.answer("https://down.example/", 500, "");
    mock.answer("https://up.example/", 200, "");
    for url in ["https://down.example/", "https://up.example/"] {
        let new = json!({ "url": url, "events": ["message.created"] });
        assert_eq!(mock.request("ann", "POST", "/api/hooks/outgoing", new).unwrap().status, 201);
    }
    for n in 0..5 {
        mock.post("ann", "general", &format!("message {n}")).unwrap();
    }
    mock.deliver().unwrap();
    mock.run_jobs();
    let sent = |url: &str| mock.requests().iter().filter(|request| request["url"] == url).count();
    assert_eq!((sent("https://down.example/"), sent("https://up.example/")), (1, 5));
    // Once it answers again, everything comes.
    mock.answer("https://down.example/", 200, "");
    for _ in 0..4 {
        mock.advance(Duration::from_secs(30));
        mock.run_jobs();
    }
    assert_eq!(sent("https://down.example/"), 6);
    assert!(mock.jobs().is_empty(), "{:?}", mock.jobs());
    assert_eq!(mock.state("body/"), json!({}));
}

//! The component itself, on the mock host.

use patchbay_sdk::{json, mock::Mock};

/// What `cargo xtask plugins` makes.
const COMPONENT: &str = "../../target/plugins/reactions.wasm";

#[test]
fn people_react_and_see_how_often() {
    let mock = Mock::load(COMPONENT);
    mock.user("ann");
    mock.user("ben");
    mock.channel("general", &["ann", "ben"]);
    let message = mock.post("ann", "general", "lunch?").unwrap()["id"].as_i64().unwrap();
    let path = format!("/api/messages/{message}/reactions");

    let added = mock.request("ben", "POST", &path, json!({ "emoji": "👍" })).unwrap();
    assert_eq!((added.status, &added.body["emoji"]), (201, &json!("👍")));
    assert_eq!(mock.request("ben", "POST", &path, json!({ "emoji": "👍" })).unwrap().status, 200);
    assert_eq!(mock.emitted().len(), 1, "the second time nothing happened");
    assert_eq!(mock.emitted()[0]["kind"], "reaction.added");

    let seen = |who: &str| mock.decorate(who, &[message]).unwrap()[message.to_string()].clone();
    assert_eq!(seen("ann"), json!([{ "count": 1, "emoji": "👍", "me": false }]));
    assert_eq!(seen("ben"), json!([{ "count": 1, "emoji": "👍", "me": true }]));
}

#[test]
fn who_is_not_there_learns_nothing() {
    let mock = Mock::load(COMPONENT);
    mock.user("ann");
    mock.user("eve");
    mock.channel("private", &["ann"]);
    let message = mock.post("ann", "private", "psst").unwrap()["id"].as_i64().unwrap();
    let path = format!("/api/messages/{message}/reactions");
    let refused = mock.request("eve", "POST", &path, json!({ "emoji": "👍" })).unwrap();
    assert_eq!((refused.status, &refused.body["code"]), (404, &json!("message_not_found")));
    assert_eq!(mock.request(None, "GET", &path, json!(null)).unwrap().status, 401);
    assert_eq!(mock.called("reactions", "add")[0]["actor"], "eve");
    assert!(mock.emitted().is_empty());
}

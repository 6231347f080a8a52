//! The component as it is shipped, on the mock host.

use patchbay_sdk::{json, mock::Mock};

#[test]
fn greetings_are_counted() {
    let mock = Mock::project();
    let ann = mock.user("ann");
    mock.channel("general", &["ann"]);

    let first = mock.command("ann", "general", "/{{name}}").unwrap();
    assert_eq!(first.as_deref(), Some("Hello ann, greeting number 1."));
    mock.command("ann", "general", "/{{name}}").unwrap();

    let path = format!("/api/plugins/{{name}}/greetings/{ann}");
    let answer = mock.request("ann", "GET", &path, json!(null)).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, json!({ "user": "ann", "count": 2 }));
    assert_eq!(mock.state("greetings/"), json!({ format!("greetings/{ann}"): r#"{"count":2}"# }));
}

#[test]
fn strangers_learn_nothing() {
    let mock = Mock::project();
    let ann = mock.user("ann");
    let path = format!("/api/plugins/{{name}}/greetings/{ann}");
    assert_eq!(mock.request(None, "GET", &path, json!(null)).unwrap().status, 401);
    assert!(mock.calls().is_empty());
}

//! The component itself, on the mock host.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail where it stands")]

use patchbay_sdk::{Value, mock::Mock};

/// What `cargo xtask plugins` makes.
const COMPONENT: &str = "../../target/plugins/search.wasm";

fn found(mock: &Mock, who: &str, path: &str) -> Vec<String> {
    let answer = mock.request(who, "GET", path, Value::Null).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let items = answer.body["items"].as_array().unwrap().iter();
    items.map(|item| item["highlight"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn people_find_what_they_may_read() {
    let mock = Mock::load(COMPONENT);
    mock.user("ann");
    mock.user("bob");
    mock.channel("general", &["ann", "bob"]);
    mock.post("ann", "general", "deploy <failed>").unwrap();
    mock.post("bob", "general", "deploy again").unwrap();
    let path = "/api/search/messages?sort=newest&q=deploy";
    assert_eq!(
        found(&mock, "bob", path),
        ["<mark>deploy</mark> again", "<mark>deploy</mark> &lt;failed&gt;"]
    );
    assert_eq!(
        found(&mock, "bob", &format!("{path}+from:ann+in:general")),
        ["<mark>deploy</mark> &lt;failed&gt;"]
    );
    assert_eq!(found(&mock, "bob", &format!("{path}+-from:me")), ["<mark>deploy</mark> &lt;failed&gt;"]);
    assert_eq!(found(&mock, "ann", "/api/search/channels?q=gen"), ["<mark>general</mark>"]);
}

#[test]
fn nothing_of_a_query_but_its_words_reaches_the_host() {
    let mock = Mock::load(COMPONENT);
    mock.user("ann");
    mock.channel("general", &["ann"]);
    let path = "/api/search/messages?q=%22a+b%22*+-c+in:general+OR+(x)";
    mock.request("ann", "GET", path, Value::Null).unwrap();
    let calls = mock.called("search", "messages");
    let terms = |call: &Value| call["query"]["terms"].clone();
    assert_eq!(calls.iter().map(terms).collect::<Vec<_>>(), [patchbay_sdk::json!(["a b", "c", "OR", "(x)"])]);
}

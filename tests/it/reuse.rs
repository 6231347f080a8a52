//! Instances that serve more than one call, as an operator may want.

use std::time::Duration;

use patchbay_tests::{TestApp, User, Value, guest, json};

const ADMIN: &str = "/api/admin/plugins/counter";

async fn with_counter(limits: Value) -> (TestApp, User) {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    ann.install_with_grants("counter", guest("counter")).await;
    let limited = ann.patch(ADMIN, &json!({ "limits": limits })).await.expect(200);
    assert_eq!(limited["state"], "active");
    (app, ann)
}

async fn call(user: &User, what: &str) -> Value {
    user.get(&format!("/api/plugins/counter/{what}")).await.expect(200)
}

async fn counts(user: &User, calls: &[&str]) -> Vec<u64> {
    let mut counts = Vec::new();
    for what in calls {
        counts.push(call(user, what).await["count"].as_u64().unwrap());
    }
    counts
}

#[tokio::test]
pub async fn each_call_is_alone_unless_an_operator_wants_it_otherwise() {
    let (app, ann) = with_counter(json!({})).await;
    let bob = app.user("bob").await;
    assert_eq!(counts(&ann, &["count"; 4]).await, [1; 4]);
    assert_eq!(call(&bob, "count").await, json!({ "count": 1, "last": null }));

    ann.patch(ADMIN, &json!({ "limits": { "reuse_calls": 3 } })).await.expect(200);
    assert_eq!(counts(&ann, &["count"; 7]).await, [1, 2, 3, 1, 2, 3, 1]);
    let seen = call(&bob, "count").await;
    assert_eq!(seen, json!({ "count": 2, "last": ann.id }), "the risk that is told of");
}

#[tokio::test]
async fn an_instance_that_trapped_is_gone_and_one_that_refused_is_not() {
    let (_app, ann) = with_counter(json!({ "reuse_calls": 100 })).await;
    assert_eq!(counts(&ann, &["count", "count"]).await, [1, 2]);
    let refused = ann.get("/api/plugins/counter/refuse").await;
    assert_eq!(refused.problem(409), "conflict");
    assert_eq!(counts(&ann, &["count"]).await, [4]);
    let trapped = ann.get("/api/plugins/counter/trap").await;
    assert_eq!(trapped.problem(502), "plugin_trapped");
    assert_eq!(counts(&ann, &["count", "count"]).await, [1, 2]);
}

#[tokio::test]
async fn what_can_still_act_is_not_used_again() {
    let (_app, ann) = with_counter(json!({ "reuse_calls": 100 })).await;
    assert_eq!(counts(&ann, &["count", "keep", "count", "count"]).await, [1, 2, 1, 2]);
}

#[tokio::test]
async fn an_instance_grows_neither_old_nor_large() {
    let (_app, ann) = with_counter(json!({ "reuse_calls": 100, "reuse_memory_bytes": 6 << 20 })).await;
    assert_eq!(counts(&ann, &["count", "grow", "count"]).await, [1, 2, 1]);
    ann.patch(ADMIN, &json!({ "limits": { "reuse_age_ms": 100 } })).await.expect(200);
    assert_eq!(counts(&ann, &["count"]).await, [1]);
    // The very age at which it is let go: time itself is what is tried.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(counts(&ann, &["count"]).await, [1]);
}

/// More plugins than there is room for waiting instances: calls of all are served.
#[tokio::test]
async fn waiting_instances_leave_room_for_others() {
    let (_app, ann) = with_counter(json!({ "reuse_calls": 1000 })).await;
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let ann = ann.clone();
            tokio::spawn(async move { ann.get("/api/plugins/counter/count").await.status })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
}

//! The index of meaning, answers from it, and the assistant: what the plugin `ai` serves.

mod answers;
mod index;
mod provider;

use patchbay_tests::{TestApp, User, Value};
use provider::Provider;

/// A server on each database, with these settings.
async fn servers(settings: &[String]) -> Vec<TestApp> {
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let postgres = match patchbay_tests::postgres::database().await {
        Some(database) => Some(TestApp::start_on_with(database, &settings).await),
        None => None,
    };
    [Some(TestApp::start_with(&settings).await), postgres].into_iter().flatten().collect()
}

/// A provider, and servers that use it.
async fn with_provider(embeds: bool) -> Vec<(Provider, TestApp)> {
    let mut pairs = Vec::new();
    // One for each, so that each can be asked what it was told.
    let first = Provider::start().await;
    for (nth, app) in servers(&first.settings(embeds)).await.into_iter().enumerate() {
        if nth == 0 {
            pairs.push((first.clone(), app));
        } else {
            drop(app);
            let own = Provider::start().await;
            let settings = own.settings(embeds);
            let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
            let database = patchbay_tests::postgres::database().await.unwrap();
            pairs.push((own, TestApp::start_on_with(database, &settings).await));
        }
    }
    pairs
}

const STATUS: &str = "/api/plugins/ai/status";

/// Waits until this message is found by its meaning.
async fn indexed(user: &User, query: &str, id: i64) {
    let path = format!("/api/v1/ai/context?by=vectors&q={query}");
    user.until(&path, |page| ids(page).contains(&id)).await;
}

fn ids(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(|item| item["message"]["id"].as_i64().unwrap()).collect()
}

async fn found(user: &User, query: &str) -> Vec<i64> {
    ids(&user.get(&format!("/api/v1/ai/context?q={query}")).await.expect(200))
}

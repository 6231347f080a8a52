//! Other versions of components, and waiting for what plugins do.

use std::time::Duration;

use serde_json::Value;

use crate::User;

/// The same component with another digest: a custom section that means nothing.
pub fn version(component: &[u8], mark: u8) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.extend_from_slice(&[0, 6, 4, b'n', b'o', b't', b'e', mark]);
    bytes
}

impl User {
    /// Asks until the answer is as wanted, and fails with the last one if it isn't within a minute.
    pub async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let answer = self.get(path).await.expect(200);
            if is_so(&answer) {
                return answer;
            }
            assert!(std::time::Instant::now() < deadline, "{path}: still {answer:#}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// The id of the user of that name.
    pub async fn id_of(&self, name: &str) -> i64 {
        let found = self.get(&format!("/api/users?query={name}")).await.expect(200);
        let is_it = |user: &&Value| user["username"] == name;
        found["items"].as_array().unwrap().iter().find(is_it).unwrap()["id"].as_i64().unwrap()
    }
}

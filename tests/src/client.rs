//! Users, as HTTP clients.

use reqwest::{Client, Method, RequestBuilder, header::HeaderMap};
use serde_json::Value;

use crate::{
    Socket,
    contract::{self, Exchange},
};

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; a string if it isn't JSON, null if it is empty.
    pub body: Value,
}

impl Answer {
    /// The body, if the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// The problem's code, if the status is this one and the answer is a proper problem document.
    #[track_caller]
    pub fn problem(self, status: u16) -> String {
        assert_eq!(self.status, status, "{:#}", self.body);
        let kind = self.headers.get("content-type").map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(kind.as_deref(), Some("application/problem+json"), "{:#}", self.body);
        assert_eq!(self.body["status"], status);
        for field in ["type", "title", "detail", "request_id"] {
            assert!(self.body[field].is_string(), "{field} is missing: {:#}", self.body);
        }
        let id = self.headers.get("x-request-id").map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(self.body["request_id"].as_str().map(str::to_owned), id);
        self.body["code"].as_str().unwrap().to_owned()
    }
}

/// Somebody who talks to the server.
#[derive(Clone, Debug)]
pub struct User {
    client: Client,
    url: String,
    /// The user's id; 0 for nobody.
    pub id: i64,
    /// The access token; empty for nobody.
    pub token: String,
    /// The refresh token; empty for nobody.
    pub refresh_token: String,
}

/// Nobody.
pub fn anonymous(url: &str) -> User {
    User {
        client: Client::new(),
        url: url.to_owned(),
        id: 0,
        token: String::new(),
        refresh_token: String::new(),
    }
}

impl User {
    /// Who these tokens belong to.
    pub fn logged_in(url: &str, tokens: &Value) -> Self {
        Self {
            id: tokens["user"]["id"].as_i64().unwrap(),
            token: tokens["access_token"].as_str().unwrap().to_owned(),
            refresh_token: tokens["refresh_token"].as_str().unwrap().to_owned(),
            ..anonymous(url)
        }
    }

    /// The same user at a server that has been started again.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// A request to be finished by hand.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    /// Sends a request that was finished by hand. Fails if the server's document does not describe the answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let kind = request.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        let sent = request.body().and_then(|body| body.as_bytes()).map(<[u8]>::to_vec);
        let response = self.client.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        assert!(headers.contains_key("x-request-id"), "every answer carries a request id");
        let content = response.bytes().await.unwrap();
        let exchange = Exchange {
            method: &method,
            path: &path,
            sent: kind.as_deref().zip(sent.as_deref()),
            status,
            headers: &headers,
            body: &content,
        };
        contract::check(&self.client, &self.url, &exchange).await;
        let text = String::from_utf8_lossy(&content);
        let body = match &*text {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        };
        Answer { status, headers, body }
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// `PUT` of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// `PATCH` of JSON.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Installs a component.
    pub async fn install(&self, name: &str, component: Vec<u8>) -> Answer {
        let request = self.request(Method::PUT, &format!("/api/admin/plugins/{name}"));
        self.send(request.header("content-type", "application/wasm").body(component)).await
    }

    /// Installs a component and grants it what it wants.
    pub async fn install_with_grants(&self, name: &str, component: Vec<u8>) {
        let installed = self.install(name, component).await.expect(201);
        if installed["state"] != "active" {
            let grants = serde_json::json!({
                "grants": installed["capabilities_wanted"], "routes": installed["routes_wanted"],
            });
            let granted = self.patch(&format!("/api/admin/plugins/{name}"), &grants).await.expect(200);
            assert_eq!(granted["state"], "active", "{granted:#}");
        }
    }

    /// Makes a public channel with these members; its id.
    pub async fn channel(&self, name: &str, members: &[&User]) -> i64 {
        let ids: Vec<i64> = members.iter().map(|user| user.id).collect();
        let body = serde_json::json!({ "name": name, "member_ids": ids });
        self.post("/api/channels", &body).await.expect(201)["id"].as_i64().unwrap()
    }

    /// Makes a private channel with these members; its id.
    pub async fn private_channel(&self, name: &str, members: &[&User]) -> i64 {
        let ids: Vec<i64> = members.iter().map(|user| user.id).collect();
        let body = serde_json::json!({ "name": name, "member_ids": ids, "is_public": false });
        self.post("/api/channels", &body).await.expect(201)["id"].as_i64().unwrap()
    }

    /// Posts a message; its id.
    pub async fn say(&self, channel: i64, content: &str) -> i64 {
        let path = format!("/api/channels/{channel}/messages");
        let body = serde_json::json!({ "content": content });
        self.post(&path, &body).await.expect(201)["id"].as_i64().unwrap()
    }

    /// The OpenAPI document of the server.
    pub async fn document(&self) -> Value {
        self.get("/api/openapi.json").await.expect(200)
    }

    /// Opens `/ws/chat` and authenticates by the first frame.
    pub async fn socket(&self) -> Socket {
        Socket::open(&self.url, &self.token).await
    }
}

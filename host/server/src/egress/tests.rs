use patchbay_runtime::Egress as Grant;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::config::Value as _;

/// A server that gives each connection the next of these answers; what it was sent comes out at the end.
async fn server(answers: Vec<String>) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let mut heard = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 16 << 10];
            let length = stream.read(&mut request).await.unwrap();
            heard.push(String::from_utf8_lossy(&request[..length]).into_owned());
            // A client that has had enough may be gone.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        heard
    });
    (port, served)
}

fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn request(method: Method, url: &str) -> OutgoingRequest {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer hush".parse().unwrap());
    headers.insert("cookie", "a=hush".parse().unwrap());
    headers.insert("x-kept", "yes".parse().unwrap());
    let timeout = Duration::from_secs(5);
    OutgoingRequest { method, url: url.to_owned(), headers, body: Bytes::from("body"), timeout }
}

async fn send(
    allow: &str,
    grants: &[String],
    request: OutgoingRequest,
) -> Result<IncomingAnswer, EgressError> {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let grants: Vec<_> = grants.iter().map(|grant| Grant::parse(grant).unwrap()).collect();
    Egress::new(Networks::parse(allow).unwrap()).send(&grants, request).await
}

const LOOPBACK: &str = "127.0.0.1/32";

#[tokio::test]
async fn a_granted_host_at_an_allowed_address_is_asked() {
    let (port, served) = server(vec![answer("201 Created\r\nX-Thing: 1", "hello")]).await;
    let url = format!("http://localhost:{port}/a?b=c#d");
    let got = send(LOOPBACK, &[format!("localhost:{port}")], request(Method::POST, &url)).await.unwrap();
    assert_eq!((got.status, got.body.as_slice()), (201, &b"hello"[..]));
    assert!(got.headers.contains(&("x-thing".to_owned(), "1".to_owned())));
    let heard = &served.await.unwrap()[0];
    assert!(heard.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{heard}");
    assert!(
        heard.contains("x-kept: yes") && heard.contains("Bearer hush") && heard.ends_with("body"),
        "{heard}"
    );
}

#[tokio::test]
async fn what_is_not_granted_or_not_public_is_not_connected_to() {
    let (port, served) = server(vec![String::new()]).await;
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0x7f.1", "2130706433"] {
        let url = format!("http://{host}:{port}/");
        let name = Url::parse(&url).unwrap().host_str().unwrap().to_owned();
        let error = send("", &[format!("{name}:{port}")], request(Method::GET, &url)).await.unwrap_err();
        assert_eq!(error, EgressError::Blocked(name.clone()), "{host}");
        let error = send("", &["example.org".to_owned()], request(Method::GET, &url)).await.unwrap_err();
        assert_eq!(error, EgressError::NotGranted(format!("{name}:{port}")), "{host}");
    }
    assert!(!served.is_finished(), "nobody has connected");
}

#[tokio::test]
async fn urls_that_are_no_good_are_refused() {
    for url in [
        "",
        "localhost",
        "ftp://localhost/",
        "file:///etc/passwd",
        "http://u@localhost/",
        "http://u:p@localhost/",
    ] {
        let error = send("", &["localhost".to_owned()], request(Method::GET, url)).await.unwrap_err();
        assert!(matches!(error, EgressError::Invalid(_)), "{url}: {error}");
    }
}

#[tokio::test]
async fn redirects_are_looked_at_like_requests() {
    for (location, expected) in [
        ("http://127.0.0.2:9/", "Blocked"),
        ("http://10.0.0.1:9/", "Blocked"),
        ("http://elsewhere.example/", "NotGranted"),
        ("http://u:p@localhost/", "Invalid"),
        ("ftp://localhost/", "Invalid"),
    ] {
        let (port, _served) = server(vec![answer(&format!("302 Found\r\nlocation: {location}"), "")]).await;
        let grants = [format!("localhost:{port}"), "127.0.0.2:9".to_owned(), "10.0.0.1:9".to_owned()];
        let url = format!("http://localhost:{port}/");
        let error = send(LOOPBACK, &grants, request(Method::GET, &url)).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{location}: {error:?}");
    }
}

#[tokio::test]
async fn credentials_stay_with_the_host_that_they_were_meant_for() {
    let (second, other) = server(vec![answer("200 OK", "done")]).await;
    let there = format!("303 See Other\r\nlocation: http://127.0.0.1:{second}/there");
    let (first, one) =
        server(vec![answer("307 Temporary Redirect\r\nlocation: /again", ""), answer(&there, "")]).await;
    let grants = [format!("localhost:{first}"), format!("127.0.0.1:{second}")];
    let url = format!("http://localhost:{first}/");
    let got = send(LOOPBACK, &grants, request(Method::POST, &url)).await.unwrap();
    assert_eq!(got.body, b"done");
    let again = &one.await.unwrap()[1];
    assert!(again.starts_with("POST /again") && again.contains("hush") && again.ends_with("body"), "{again}");
    let there = &other.await.unwrap()[0];
    assert!(there.starts_with("GET /there") && there.contains("x-kept"), "{there}");
    assert!(!there.contains("hush") && !there.contains("body"), "{there}");
}

#[tokio::test]
async fn answers_and_redirects_have_an_end() {
    let (port, served) = server(vec![answer("302 Found\r\nlocation: /", ""); MAX_REDIRECTS + 1]).await;
    let grants = [format!("localhost:{port}")];
    let url = format!("http://localhost:{port}/");
    let error = send(LOOPBACK, &grants, request(Method::GET, &url)).await.unwrap_err();
    assert!(matches!(error, EgressError::Unreachable(_)), "{error}");
    assert_eq!(served.await.unwrap().len(), MAX_REDIRECTS + 1);

    let large = "x".repeat(MAX_ANSWER + 1);
    let without_length = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{large}");
    let (port, _served) = server(vec![answer("200 OK", &large), without_length]).await;
    for _ in 0..2 {
        let url = format!("http://localhost:{port}/");
        let error = send(LOOPBACK, &[format!("localhost:{port}")], request(Method::GET, &url)).await;
        assert_eq!(error.unwrap_err(), EgressError::TooLarge);
    }

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/");
    let hurried = OutgoingRequest { timeout: Duration::from_millis(50), ..request(Method::GET, &url) };
    let error = send(LOOPBACK, &[format!("127.0.0.1:{port}")], hurried).await.unwrap_err();
    assert!(matches!(error, EgressError::Unreachable(_)), "{error}");
}

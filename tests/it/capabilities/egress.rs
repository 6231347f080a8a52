//! Where plugins' requests go, and where they don't.

use std::net::Ipv4Addr;

use patchbay_tests::{NameServer, TestApp, User, Value, guest, json, postgres};
use server::{Server, serve, serve_securely};

use super::{ADMIN, call};

/// A small HTTP server, by hand: what it answers is all that matters.
mod server {
    use std::sync::Arc;

    use tokio::{
        io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

    pub struct Server {
        pub port: u16,
    }

    /// `/to/URL` redirects to that URL, anything else answers with what was asked.
    pub async fn serve() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream).await;
            }
        });
        Server { port }
    }

    /// The same by TLS.
    pub async fn serve_securely(config: ServerConfig) -> Server {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream).await;
                }
            }
        });
        Server { port }
    }

    async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut request = vec![0; 16 << 10];
        let length = stream.read(&mut request).await.unwrap_or(0);
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let answer = match path.strip_prefix("/to/") {
            Some(url) => format!("HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n"),
            None => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{request}", request.len()),
        };
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

/// The probe with grants for these hosts.
async fn with_egress(settings: &[&str], hosts: &[String]) -> (TestApp, User) {
    let app = TestApp::start_with(settings).await;
    let root = root_with_egress(&app, hosts).await;
    (app, root)
}

async fn root_with_egress(app: &TestApp, hosts: &[String]) -> User {
    let root = app.user("root").await;
    root.install_with_grants("probe", guest("probe")).await;
    let shown = root.get(ADMIN).await.expect(200);
    let mut grants = shown["capabilities_granted"].as_array().unwrap().clone();
    grants.extend(hosts.iter().map(|host| json!(format!("egress:{host}"))));
    root.patch(ADMIN, &json!({ "grants": grants })).await.expect(200);
    root
}

#[tokio::test]
async fn nothing_that_is_not_of_the_public_internet_is_reached() {
    let Server { port } = serve().await;
    let hosts = ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:7f00:1]"];
    let grants: Vec<_> = hosts.iter().map(|host| format!("{host}:{port}")).collect();
    let (_app, root) = with_egress(&[], &grants).await;
    let send = async |url: String| call(&root, "http_client/send", json!({ "url": url })).await;
    for host in [
        "127.0.0.1",
        "localhost",
        "10.0.0.1",
        "169.254.169.254",
        "[::1]",
        "[::ffff:127.0.0.1]",
        // Other ways to write 127.0.0.1.
        "127.1",
        "0x7f000001",
        "2130706433",
    ] {
        assert_eq!(send(format!("http://{host}:{port}/")).await.problem(403), "egress_blocked", "{host}");
    }
    for url in [
        "http://example.org/".to_owned(),
        format!("http://127.0.0.2:{port}/"),
        "http://127.0.0.1/".to_owned(),
    ] {
        assert_eq!(send(url.clone()).await.problem(403), "egress_not_granted", "{url}");
    }
    for url in ["file:///etc/passwd".to_owned(), format!("http://u:p@127.0.0.1:{port}/"), "/".to_owned()] {
        assert_eq!(send(url.clone()).await.problem(422), "validation_failed", "{url}");
    }
}

#[tokio::test]
async fn what_the_operator_grants_and_allows_is_reached_and_no_hop_further() {
    let Server { port } = serve().await;
    let own = format!("127.0.0.1:{port}");
    let grants =
        [own.clone(), format!("localhost:{port}"), "10.0.0.1:80".to_owned(), format!("127.0.0.2:{port}")];
    let (_app, root) = with_egress(&["egress.allow_private=127.0.0.1/32"], &grants).await;
    let send = async |body: Value| call(&root, "http_client/send", body).await;
    let headers = json!([["x-key", "value"], ["authorization", "Bearer t"]]);
    let body =
        json!({ "url": format!("http://{own}/a?b"), "method": "POST", "headers": headers, "body": "hello" });
    let answer = send(body).await.expect(200);
    assert_eq!(answer["status"], 200);
    let heard = answer["body"].as_str().unwrap();
    assert!(heard.starts_with("POST /a?b HTTP/1.1\r\n") && heard.ends_with("hello"), "{heard}");
    assert!(heard.contains("x-key: value") && heard.contains(&format!("host: {own}")), "{heard}");
    let url = format!("http://localhost:{port}/");
    send(json!({ "url": url })).await.expect(200);

    let to = |url: &str| json!({ "url": format!("http://{own}/to/{url}"), "headers": [["cookie", "a=b"]] });
    let answer = send(to(&format!("http://localhost:{port}/there"))).await.expect(200);
    let heard = answer["body"].as_str().unwrap();
    assert!(heard.starts_with("GET /there") && !heard.contains("cookie"), "{heard}");
    for (url, code) in [
        (format!("http://127.0.0.2:{port}/"), "egress_blocked"),
        ("http://10.0.0.1/".to_owned(), "egress_blocked"),
        ("http://169.254.169.254/latest".to_owned(), "egress_not_granted"),
        ("https://example.org/".to_owned(), "egress_not_granted"),
    ] {
        assert_eq!(send(to(&url)).await.problem(403), code, "{url}");
    }
    let host = send(json!({ "url": format!("http://{own}/"), "headers": [["Host", "example.org"]] })).await;
    assert_eq!(host.problem(422), "validation_failed");
    // What is revoked is gone with the next request.
    let shown = root.get(ADMIN).await.expect(200);
    let kept: Vec<_> = shown["capabilities_wanted"].as_array().unwrap().clone();
    root.patch(ADMIN, &json!({ "grants": kept })).await.expect(200);
    let revoked = send(json!({ "url": format!("http://{own}/") })).await;
    assert_eq!(revoked.problem(403), "egress_not_granted");
    let wrong = root.patch(ADMIN, &json!({ "grants": ["egress:**"] })).await;
    assert_eq!(wrong.problem(422), "validation_failed");
}

#[tokio::test]
async fn a_name_that_changes_its_address_leads_nowhere_else() {
    let Some(names) = NameServer::start().await else { return };
    let Server { port } = serve().await;
    let (allowed, forbidden) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
    let trap = tokio::net::TcpListener::bind((forbidden, port)).await.unwrap();
    let app = TestApp::start_with_names(&names, &["egress.allow_private=127.0.0.1/32"]).await;
    let root = root_with_egress(&app, &[format!("rebound.test:{port}")]).await;
    let send = async || {
        call(&root, "http_client/send", json!({ "url": format!("http://rebound.test:{port}/") })).await
    };
    // Of several addresses only those are connected to that may be.
    names.answer(&[&[forbidden, allowed]]);
    send().await.expect(200);
    // Whoever asked again for what has been looked at would be led astray.
    names.answer(&[&[allowed], &[forbidden]]);
    let before = names.asked();
    let mut reached = Vec::new();
    for _ in 0..10 {
        let answer = send().await;
        reached.push(answer.status);
        if answer.status != 200 {
            assert_eq!(answer.problem(403), "egress_blocked");
        }
    }
    assert_eq!(names.asked() - before, 10, "each request asks once");
    assert_eq!(reached.iter().filter(|status| **status == 200).count(), 5, "{reached:?}");
    let strayed = tokio::time::timeout(std::time::Duration::from_millis(100), trap.accept()).await;
    assert!(strayed.is_err(), "it was connected to");
}

#[tokio::test]
async fn a_server_has_to_prove_who_it_is() {
    let (known, unknown) = (postgres::Authority::new(), postgres::Authority::new());
    let (good, bad) =
        (serve_securely(known.server()).await.port, serve_securely(unknown.server()).await.port);
    let Server { port: plain } = serve().await;
    let app = TestApp::start_trusting(&known, &["egress.allow_private=127.0.0.1/32"]).await;
    let hosts: Vec<_> = [good, bad, plain].iter().map(|port| format!("localhost:{port}")).collect();
    let root = root_with_egress(&app, &hosts).await;
    let send = async |url: String| call(&root, "http_client/send", json!({ "url": url })).await;
    assert_eq!(send(format!("https://localhost:{good}/")).await.expect(200)["status"], 200);
    assert_eq!(send(format!("https://localhost:{bad}/")).await.problem(503), "unavailable");
    assert_eq!(send(format!("http://localhost:{good}/")).await.problem(503), "unavailable");
    // The way up is open, and nobody is led down.
    let up = format!("http://localhost:{plain}/to/https://localhost:{good}/");
    assert_eq!(send(up).await.expect(200)["status"], 200);
    let down = send(format!("https://localhost:{good}/to/http://localhost:{plain}/")).await;
    assert!(down.body.to_string().contains("from https to http"));
    assert_eq!(down.problem(503), "unavailable");
}

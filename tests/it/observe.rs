//! What operators see: metrics, the log, traces.

use std::{sync::Arc, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value, trace::v1::Span,
};
use patchbay_tests::{TestApp, Value, anonymous};
use prost::Message;
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// The value of a metric with exactly these labels.
fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing:\n{text}")).parse().unwrap()
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_what_the_server_is_busy_with() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    let message = ann.say(channel, "hello").await;
    let _socket = ann.socket().await;
    for n in 0..5 {
        ann.get(&format!("/api/messages/{message}?n={n}")).await.expect(200);
        ann.get(&format!("/api/nothing/{n}")).await.problem(404);
        ann.get(&format!("/nowhere/{n}")).await.problem(404);
        ann.get(&format!("/api/messages/{message}/reactions")).await.expect(200);
    }
    let odd = ann.request(Method::from_bytes(b"BREW").unwrap(), "/api/users/me");
    assert_eq!(ann.send(odd).await.problem(405), "method_not_allowed");
    let answer = app.anonymous().get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = answer.body.as_str().unwrap().to_owned();
    let requests = |labels: &str| metric(&text, &format!("patchbay_http_requests_total{{{labels}}}"));
    assert_eq!(requests(r#"method="GET",route="/api/messages/{id}",status="2xx""#), 5.0);
    assert_eq!(requests(r#"method="GET",route="/api/messages/{message_id}/reactions",status="2xx""#), 5.0);
    assert_eq!(requests(r#"method="GET",route="unmatched",status="4xx""#), 10.0);
    assert_eq!(requests(r#"method="other",route="/api/users/me",status="4xx""#), 1.0);
    let count = r#"patchbay_http_request_duration_seconds_count{method="GET",route="/api/messages/{id}"}"#;
    assert_eq!(metric(&text, count), 5.0);
    assert_eq!(metric(&text, "patchbay_sockets"), 1.0);
    assert!(metric(&text, "patchbay_connections") >= 2.0);
    assert!(metric(&text, "patchbay_journal_head") >= 3.0);
    assert!(metric(&text, "patchbay_writer_operations_total") >= 3.0);
    assert!(metric(&text, "patchbay_writer_batches_total") >= 1.0);
    assert_eq!(metric(&text, "patchbay_writer_queue"), 0.0);
    assert_eq!(metric(&text, "patchbay_http_requests_under_way"), 1.0, "this one");
    if cfg!(target_os = "linux") {
        assert!(metric(&text, "process_resident_memory_bytes") > 1e6);
        assert!(metric(&text, "process_open_fds") > 3.0);
        assert!(metric(&text, "process_cpu_seconds_total") > 0.0);
        assert!(metric(&text, "process_start_time_seconds") > 1e9);
    }
    assert!(text.contains("# TYPE patchbay_http_requests_total counter"));
    assert!(text.contains(r#"patchbay_build_info{version=""#));
}

#[tokio::test]
async fn metrics_have_an_address_of_their_own_if_they_are_given_one() {
    let app = TestApp::start_with(&["metrics.listen=127.0.0.1:0"]).await;
    app.anonymous().get("/metrics").await.problem(404);
    let url = app.said("metrics").await;
    let answer = anonymous("").send(reqwest::Client::new().get(&url)).await;
    assert!(answer.body.as_str().unwrap().contains("patchbay_journal_head"));
    let other = url.replace("/metrics", "/api/users/me");
    assert_eq!(reqwest::get(&other).await.unwrap().status(), 404);
}

#[tokio::test]
async fn the_log_is_one_object_a_line_and_holds_no_secrets() {
    let app = TestApp::start_with(&["log.format=json", "log.filter=patchbay::request=debug,info"]).await;
    let ann = app.user("ann").await;
    let id = ann.get("/api/users?query=hush").await.headers["x-request-id"].to_str().unwrap().to_owned();
    let line = loop {
        if let Some(line) = app.log().lines().find(|line| line.contains(&id)) {
            break line.to_owned();
        }
        tokio::task::yield_now().await;
    };
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["span"]["id"], id);
    assert_eq!(line["span"]["method"], "GET");
    assert_eq!(line["span"]["user"], ann.id);
    assert_eq!(line["fields"]["route"], "/api/users");
    assert_eq!(line["fields"]["status"], 200);
    assert!(line["fields"]["ms"].is_u64());
    let log = app.log();
    for line in log.lines() {
        serde_json::from_str::<serde_json::Map<String, Value>>(line).unwrap();
    }
    for secret in ["hush", "correct horse", &ann.token, &ann.refresh_token] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

/// A collector of traces, as small as it can be.
async fn collector() -> (String, mpsc::UnboundedReceiver<Span>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (spans, came) = mpsc::unbounded_channel();
    let spans = Arc::new(spans);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(collect(stream, Arc::clone(&spans)));
        }
    });
    (url, came)
}

async fn collect(mut stream: TcpStream, spans: Arc<mpsc::UnboundedSender<Span>>) {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(bytes.drain(..end).collect()).unwrap().to_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let length: usize = length.parse().unwrap();
        while bytes.len() < length {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        }
        let body: Vec<u8> = bytes.drain(..length).collect();
        for resource in ExportTraceServiceRequest::decode(body.as_slice()).unwrap().resource_spans {
            for scope in resource.scope_spans {
                for span in scope.spans {
                    spans.send(span).unwrap();
                }
            }
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

#[tokio::test]
async fn traces_follow_a_request_into_the_database() {
    let (url, mut came) = collector().await;
    let mut app = TestApp::start_with(&[&format!("trace.otlp_endpoint={url}")]).await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = ann
        .request(Method::POST, &format!("/api/channels/{channel}/messages"))
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .json(&patchbay_tests::json!({ "content": "hello" }));
    let id = ann.send(request).await.headers["x-request-id"].to_str().unwrap().to_owned();
    assert!(app.stop().await, "what was not sent yet is sent at the end");
    let mut spans = Vec::new();
    while let Ok(Some(span)) = tokio::time::timeout(Duration::from_millis(100), came.recv()).await {
        spans.push(span);
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let of_trace: Vec<_> = spans.iter().filter(|span| hex(&span.trace_id) == trace).collect();
    let request = of_trace.iter().find(|span| hex(&span.parent_span_id) == "00f067aa0ba902b7");
    let request = request.expect("the request continues the caller's trace");
    assert_eq!(request.name, "POST /api/channels/{id}/messages");
    assert_eq!(request.kind, 2, "a server's span");
    assert_eq!(attribute(request, "id"), Some(id));
    assert_eq!(attribute(request, "http.response.status_code").as_deref(), Some("201"));
    assert_eq!(attribute(request, "user"), Some(ann.id.to_string()));
    let operation = of_trace.iter().find(|span| span.name == "post_message").expect("the operation");
    assert_eq!(operation.parent_span_id, request.span_id);
    let write = of_trace.iter().find(|span| span.name == "database write").expect("the database");
    assert_eq!(write.parent_span_id, operation.span_id);
    let others = spans.iter().filter(|span| hex(&span.trace_id) != trace).count();
    assert!(others > 0, "requests without a caller's trace have their own");
    for secret in ["hello", "correct horse", &ann.token] {
        assert!(!format!("{spans:?}").contains(secret), "{secret} was sent to the collector");
    }
}

#[tokio::test]
async fn a_collector_that_is_not_there_harms_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("trace.otlp_endpoint=http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut app = TestApp::start_with(&[&endpoint]).await;
    app.expect_error("BatchSpanProcessor");
    let ann = app.user("ann").await;
    ann.get("/api/users/me").await.expect(200);
    assert!(app.stop().await);
}

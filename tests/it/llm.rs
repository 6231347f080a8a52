//! Language models for plugins: answers whole and as they come, embeddings, budgets, and what providers do wrong.

use std::time::Duration;

use patchbay_tests::{
    Answer, TestApp, User, Value, eventually,
    fake::{Fake, OPENAI_KEY, Reply, openai, piece},
    guest, json, litellm, postgres,
};

const ADMIN: &str = "/api/admin/plugins/models-probe";

pub async fn call(user: &User, function: &str, body: Value) -> Answer {
    user.post(&format!("/api/plugins/models-probe/{function}"), &body).await
}

/// A server with a provider, and whoever asks.
async fn with_provider(settings: &[&str]) -> (Fake, TestApp, User) {
    let fake = openai().await;
    let base = format!("ai.base_url=http://127.0.0.1:{}/v1", fake.port);
    let key = format!("ai.api_key={OPENAI_KEY}");
    let mut all = vec![base.as_str(), key.as_str(), "ai.model=fake-1"];
    all.extend(settings);
    let app = TestApp::start_with(&all).await;
    let root = app.user("root").await;
    root.install_with_grants("models-probe", guest("models-probe")).await;
    (fake, app, root)
}

fn status(status: u16, headers: &[(&'static str, &str)]) -> Reply {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Reply::Whole(status, headers, json!({ "error": { "message": "no", "code": "x" } }).to_string())
}

async fn code(user: &User, function: &str) -> String {
    call(user, function, json!({ "ask": "hello" })).await.problem(503)
}

#[tokio::test]
pub async fn models_probe() {
    let (fake, app, root) = with_provider(&["ai.embedding_model=vowels"]).await;
    let whole = json!({ "ask": "hello there", "max_tokens": 50, "temperature": 0.2 });
    let answer = call(&root, "complete", whole).await.expect(200);
    assert_eq!(
        answer,
        json!({
            "content": "You said: hello there", "model": "fake-1", "ending": "Ending::Complete",
            "prompt_tokens": 11, "answer_tokens": 7,
        })
    );
    let [asked] = fake.seen().try_into().unwrap();
    assert_eq!(
        asked.body,
        json!({
            "model": "fake-1", "stream": false, "max_tokens": 50, "temperature": 0.2,
            "messages": [{ "role": "user", "content": "hello there" }],
        })
    );
    let streamed =
        call(&root, "stream", json!({ "ask": "hello there", "model": "fake-2" })).await.expect(200);
    assert_eq!(streamed, "You said: hello there .7");
    let [asked] = fake.seen().try_into().unwrap();
    assert_eq!(asked.body["model"], "fake-2");
    assert_eq!(asked.body["stream_options"], json!({ "include_usage": true }));
    let providers = call(&root, "providers", json!({})).await.expect(200);
    assert_eq!(providers, json!([{ "name": "default", "model": "fake-1", "embedding_model": "vowels" }]));
    assert_eq!(call(&root, "tokens", json!({ "text": "hello" })).await.expect(200), 2);
    // What was used is counted, and seen by operators.
    let shown = root.until(ADMIN, |plugin| plugin["llm_tokens_today"] == 36).await;
    assert_eq!(shown["limits"]["llm_tokens_per_day"], 2_000_000);
    assert!(!app.log().contains(OPENAI_KEY));
}

#[tokio::test]
async fn a_deployment_without_a_provider_embeds_by_words_and_says_that_nothing_answers() {
    let app = TestApp::start().await;
    let root = app.user("root").await;
    root.install_with_grants("models-probe", guest("models-probe")).await;
    assert_eq!(call(&root, "providers", json!({})).await.expect(200), json!([]));
    for function in ["complete", "stream"] {
        assert_eq!(code(&root, function).await, "llm_not_configured");
    }
    assert_eq!(call(&root, "embedder", json!({})).await.expect(200), "lexical");
    let named = json!({ "provider": "other", "texts": ["a"] });
    assert_eq!(call(&root, "embed", named).await.problem(503), "llm_not_configured");
    let made = call(&root, "embed", json!({ "texts": ["hello world", "…"] })).await.expect(200);
    assert_eq!(made["embedder"], "lexical");
    let numbers = |at: usize| -> Vec<f64> {
        made["vectors"][at].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    assert!((numbers(0).iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-4);
    assert_eq!(numbers(1), vec![0.0; 512]);
    assert_eq!(root.get(ADMIN).await.expect(200)["llm_tokens_today"], 0, "it costs nothing");
}

#[tokio::test]
async fn texts_are_embedded_once() {
    for on_postgres in [false, true] {
        let fake = openai().await;
        let settings = [
            format!("ai.base_url=http://127.0.0.1:{}/v1", fake.port),
            format!("ai.api_key={OPENAI_KEY}"),
            "ai.embedding_model=vowels".to_owned(),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let mut app = match (on_postgres, postgres::database().await) {
            (true, None) => return,
            (true, Some(database)) => TestApp::start_on_with(database, &settings).await,
            (false, _) => TestApp::start_with(&settings).await,
        };
        let root = app.user("root").await;
        root.install_with_grants("models-probe", guest("models-probe")).await;
        let texts = json!({ "texts": ["aee", "o", "", "aee", "  "] });
        let made = call(&root, "embed", texts.clone()).await.expect(200);
        assert_eq!(made["embedder"], "default/vowels");
        let (a, e) = (1.0 / 5.0_f64.sqrt(), 2.0 / 5.0_f64.sqrt());
        let near = |at: usize, wanted: [f64; 5]| {
            let vector = made["vectors"][at].as_array().unwrap();
            let is = vector.iter().zip(wanted).all(|(x, wanted)| (x.as_f64().unwrap() - wanted).abs() < 1e-6);
            assert!(is && vector.len() == 5, "{at}: {vector:?}");
        };
        near(0, [a, e, 0.0, 0.0, 0.0]);
        near(1, [0.0, 0.0, 0.0, 1.0, 0.0]);
        near(2, [0.0; 5]);
        near(3, [a, e, 0.0, 0.0, 0.0]);
        let [asked] = fake.seen().try_into().unwrap();
        assert_eq!(
            asked.body["input"],
            json!(["aee", "o", "."]),
            "each text once, and none without a character"
        );
        app.kill().await;
        app.restart().await;
        let root = root.at(&app.url);
        assert_eq!(call(&root, "embed", texts).await.expect(200), made);
        assert!(fake.seen().is_empty(), "the cache outlives a restart");
        // Many go in batches.
        let many: Vec<String> = (0..150).map(|n| format!("i{n}")).collect();
        call(&root, "embed", json!({ "texts": many })).await.expect(200);
        let sizes: Vec<_> =
            fake.seen().iter().map(|asked| asked.body["input"].as_array().unwrap().len()).collect();
        assert_eq!(sizes, [64, 64, 22]);
    }
}

#[tokio::test]
async fn what_a_provider_does_wrong_has_a_code() {
    let (fake, app, root) = with_provider(&["ai.timeout=1s", "ai.embedding_model=vowels"]).await;
    let body = |text: &str| Reply::Whole(200, vec![], text.to_owned());
    for function in ["complete", "stream"] {
        // It is asked again, as soon as it wants to be.
        fake.script([status(429, &[("retry-after", "0")]), status(500, &[("retry-after-ms", "10")])]);
        call(&root, function, json!({ "ask": "hello" })).await.expect(200);
        assert_eq!(fake.seen().len(), 3);
        // Not for ever, and not after longer than a call can wait.
        fake.script(vec![status(429, &[("retry-after", "0")]); 3]);
        assert_eq!(code(&root, function).await, "llm_busy");
        assert_eq!(fake.seen().len(), 3);
        fake.script([status(429, &[("retry-after", "3600")])]);
        assert_eq!(code(&root, function).await, "llm_busy");
        assert_eq!(fake.seen().len(), 1);
        fake.script(vec![status(500, &[("retry-after-ms", "1")]); 3]);
        assert_eq!(code(&root, function).await, "llm_failed");
        fake.seen();
        for reply in [status(400, &[]), status(302, &[("location", "http://127.0.0.1:1/")]), Reply::Hang] {
            fake.script([reply]);
            assert_eq!(code(&root, function).await, "llm_failed");
            assert_eq!(fake.seen().len(), 1, "asking again would change nothing");
        }
    }
    for wrong in ["", "{", "[]", "{\"choices\":[]}", "{\"choices\":[{}]}", "<html>"] {
        fake.script([body(wrong)]);
        assert_eq!(code(&root, "complete").await, "llm_failed", "{wrong:?}");
    }
    let (once, none) = (vec![piece("Half an ", None)], Duration::ZERO);
    let with = |last: &str| [once.clone(), vec![last.to_owned()]].concat();
    for (events, cut, expected) in [
        (once.clone(), true, "Half an  !llm_failed"),
        (once.clone(), false, "Half an  !llm_failed"),
        (with("[DONE]"), false, "Half an  !llm_failed"),
        (with("{not json"), false, "Half an  !llm_failed"),
        (with("{\"error\":{\"message\":\"overloaded\"}}"), false, "Half an  !llm_failed"),
        (with(&piece("answer", Some("length"))), false, "Half an answer .4"),
    ] {
        fake.script([Reply::Events(events, none, cut)]);
        let streamed = call(&root, "stream", json!({ "ask": "hello" })).await.expect(200);
        assert_eq!(streamed, expected);
    }
    fake.script([Reply::Events(vec![piece("Slow", None), piece("er", None)], Duration::from_secs(3), false)]);
    let streamed = call(&root, "stream", json!({ "ask": "hello" })).await.expect(200);
    assert_eq!(streamed, " !llm_failed", "it may be silent for a second");
    for wrong in ["{\"data\":[]}", "{\"data\":[{\"index\":0,\"embedding\":[]}]}", "{}"] {
        fake.script([body(wrong)]);
        assert_eq!(call(&root, "embed", json!({ "texts": ["u"] })).await.problem(503), "llm_failed");
    }
    // Neither what people wrote nor what a provider said is in the log.
    for word in ["hello", "not json", "Half an", OPENAI_KEY] {
        assert!(!app.log().contains(word), "{word}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_request_to_the_provider() {
    let (fake, _app, root) = with_provider(&[]).await;
    let forever = vec![piece("word ", None); 1_000];
    for (function, reply) in [
        ("complete", Reply::Hang),
        ("stream", Reply::Hang),
        ("stream", Reply::Events(forever, Duration::from_millis(50), false)),
    ] {
        let before = fake.hung_up();
        fake.script([reply]);
        let path = format!("/api/plugins/models-probe/{function}");
        let request = root.request(reqwest::Method::POST, &path).json(&json!({ "ask": "hello" }));
        let asking = tokio::spawn(async move {
            // A stream that began is read, until nobody does.
            request.send().await.unwrap().bytes().await
        });
        eventually("the provider was asked", || !fake.seen().is_empty()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        asking.abort();
        eventually("the provider sees that nobody waits", || fake.hung_up() > before).await;
    }
}

#[tokio::test]
async fn waiting_for_a_model_is_not_the_plugins_time_and_has_an_end() {
    let (fake, app, root) = with_provider(&[]).await;
    let limits = |limits: Value| json!({ "limits": limits });
    let short = limits(json!({ "http_wall_ms": 400, "events_wall_ms": 400, "http_cpu_ms": 200 }));
    root.patch(ADMIN, &short).await.expect(200);
    let slow = || Reply::After(Duration::from_millis(1_500), Box::new(openai_answer("later")));
    fake.script([slow()]);
    assert_eq!(call(&root, "complete", json!({ "ask": "a" })).await.expect(200)["content"], "later");
    let pieces = vec![piece("One ", None), piece("two", Some("stop"))];
    fake.script([Reply::Events(pieces, Duration::from_millis(800), false)]);
    assert_eq!(call(&root, "stream", json!({ "ask": "a" })).await.expect(200), "One two .2");
    // The same for events.
    fake.script([slow()]);
    let channel = root.channel("general", &[]).await;
    root.say(channel, "ask what time it is").await;
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while call(&root, "kept", json!({})).await.expect(200) != "later" {
        assert!(std::time::Instant::now() < deadline, "the event handler has no answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What comes after the wait is the plugin's own time again.
    let ended = call(&root, "spin", json!({ "ask": "a" })).await.problem(504);
    assert!(["plugin_deadline_exceeded", "plugin_timeout"].contains(&ended.as_str()), "{ended}");
    root.patch(ADMIN, &limits(json!({ "llm_wait_ms": 300 }))).await.expect(200);
    fake.script([Reply::Hang]);
    let answer = call(&root, "complete", json!({ "ask": "a" })).await;
    assert_eq!(answer.problem(504), "plugin_timeout");
    eventually("the provider is left", || fake.hung_up() > 0).await;
    drop(app);
}

fn openai_answer(content: &str) -> Reply {
    let choice = json!({ "message": { "role": "assistant", "content": content }, "finish_reason": "stop" });
    Reply::json(200, &json!({ "choices": [choice] }))
}

#[tokio::test]
async fn a_budget_ends_and_outlives_a_restart() {
    let (fake, mut app, root) = with_provider(&["metrics.listen=127.0.0.1:0"]).await;
    root.patch(ADMIN, &json!({ "limits": { "llm_tokens_per_day": 30 } })).await.expect(200);
    call(&root, "complete", json!({ "ask": "a" })).await.expect(200);
    // 18 are used, and more are not left than this prompt alone would take.
    let long = json!({ "ask": "words ".repeat(20) });
    assert_eq!(call(&root, "complete", long.clone()).await.problem(503), "llm_budget_exceeded");
    call(&root, "stream", json!({ "ask": "a" })).await.expect(200);
    for function in ["complete", "stream"] {
        let refused = call(&root, function, json!({ "ask": "a" })).await;
        assert_eq!(refused.problem(503), "llm_budget_exceeded", "{function}");
    }
    assert_eq!(fake.seen().len(), 2, "the provider was asked for nothing that is not paid for");
    root.until(ADMIN, |plugin| plugin["llm_tokens_today"] == 36).await;
    let metrics = reqwest::get(app.said("metrics").await).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("patchbay_plugin_llm_tokens_today{plugin=\"models-probe\"} 36\n"), "{metrics}");
    app.kill().await;
    app.restart().await;
    let root = root.at(&app.url);
    assert_eq!(call(&root, "complete", json!({ "ask": "a" })).await.problem(503), "llm_budget_exceeded");
    root.patch(ADMIN, &json!({ "limits": { "llm_tokens_per_day": null } })).await.expect(200);
    call(&root, "complete", json!({ "ask": "a" })).await.expect(200);
    // A client that leaves has used what it asked.
    fake.script([Reply::Hang]);
    let request = root.request(reqwest::Method::POST, "/api/plugins/models-probe/complete");
    let request = request.json(&json!({ "ask": "a".repeat(4_000) })).timeout(Duration::from_millis(500));
    assert!(request.send().await.is_err());
    root.until(ADMIN, |plugin| plugin["llm_tokens_today"].as_i64().unwrap() > 1_000).await;
}

#[tokio::test]
async fn keys_are_shown_to_nobody() {
    let (fake, other) = (openai().await, openai().await);
    let settings = [
        format!("ai.base_url=http://127.0.0.1:{}/v1", fake.port),
        "ai.api_key=sk-wrong-key-1234".to_owned(),
        "ai.model=fake-1".to_owned(),
        format!("ai.providers.local.base_url=http://127.0.0.1:{}/v1/", other.port),
        format!("ai.providers.local.api_key={OPENAI_KEY}"),
        "ai.providers.local.model=fake-9".to_owned(),
        "log.filter=debug".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let app = TestApp::start_with(&settings).await;
    let root = app.user("root").await;
    root.install_with_grants("models-probe", guest("models-probe")).await;
    let refused = call(&root, "complete", json!({ "ask": "hello" })).await;
    let said = refused.body.to_string();
    assert_eq!(refused.problem(503), "llm_failed");
    assert_eq!((fake.seen().len(), other.seen().len()), (1, 0), "each key goes to its own provider");
    let named = json!({ "ask": "hello", "provider": "local" });
    let answer = call(&root, "complete", named).await.expect(200);
    assert_eq!(answer["content"], "You said: hello");
    assert_eq!(other.seen()[0].body["model"], "fake-9");
    let providers = call(&root, "providers", json!({})).await.expect(200).to_string();
    let config = String::from_utf8(app.command("config", &[]).await.stdout).unwrap();
    for setting in ["ai.api_key = \"***\"", "ai.providers.local.api_key = \"***\"", "fake-9"] {
        assert!(config.contains(setting), "{config}");
    }
    for key in [OPENAI_KEY, "sk-wrong-key-1234"] {
        for text in [&said, &providers, &config, &app.log()] {
            assert!(!text.contains(key), "{text}");
        }
    }
}

#[tokio::test]
async fn wrong_settings_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (setting, complaint) in [
        ("ai.base_url=localhost:11434", "ai.base_url: this URL is not allowed"),
        ("ai.base_url=https://u:secret-word@host/v1", "ai.base_url: this URL is not allowed"),
        ("ai.providers.local.model=a", "ai.providers.local: base_url is missing"),
        ("ai.providers.local.key=a", "a provider has base_url, api_key, model, embedding_model"),
        ("ai.providers.default.base_url=http://h/", "ai.providers.default: a name is"),
        ("vectors.url=pinecone://host", "vectors.api_key is what opens it"),
        ("vectors.url=mysql://u:secret-word@h/d", "vectors.url: this URL is not allowed"),
    ] {
        let checked = patchbay_tests::command(dir.path(), &[setting.to_owned()], "check-config", &[]).await;
        let errors = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(!checked.status.success() && errors.contains(complaint), "{setting}: {errors}");
        assert!(!errors.contains("secret-word"), "{errors}");
    }
}

/// A proxy that nobody here wrote, with models that are made up. It ends with this value.
struct Proxy {
    _process: tokio::process::Child,
    _config: tempfile::TempDir,
    port: u16,
}

impl Proxy {
    async fn start(program: &std::path::Path) -> Self {
        let config = tempfile::tempdir().unwrap();
        let model = |name: &str, answer: &str| {
            json!({ "model_name": name, "litellm_params": {
                "model": format!("openai/{name}"), "api_key": "none", "mock_response": answer,
            } })
        };
        let settings = json!({
            "model_list": [
                model("mocked", "This is what the proxy says."),
                model("busy", "litellm.RateLimitError"),
                model("broken", "litellm.InternalServerError"),
            ],
            "router_settings": { "num_retries": 0, "disable_cooldowns": true },
            "general_settings": { "master_key": OPENAI_KEY },
        });
        let file = config.path().join("config.yaml");
        // JSON is YAML.
        std::fs::write(&file, settings.to_string()).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = tokio::process::Command::new(program);
        command.arg("--config").arg(&file).args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").current_dir(config.path()).kill_on_drop(true);
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let process = command.spawn().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(180);
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(std::time::Instant::now() < deadline, "the proxy does not start");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Self { _process: process, _config: config, port }
    }
}

#[tokio::test]
async fn through_a_proxy_that_nobody_here_wrote() {
    let Some(program) = litellm() else { return };
    let proxy = Proxy::start(&program).await;
    let base = format!("ai.base_url=http://127.0.0.1:{}/v1", proxy.port);
    let key = format!("ai.api_key={OPENAI_KEY}");
    let app = TestApp::start_with(&[&base, &key, "ai.model=mocked"]).await;
    let root = app.user("root").await;
    root.install_with_grants("models-probe", guest("models-probe")).await;
    let whole = call(&root, "complete", json!({ "ask": "hello", "temperature": 0.5 })).await.expect(200);
    assert_eq!(whole["content"], "This is what the proxy says.");
    assert_eq!((&whole["model"], &whole["ending"]), (&json!("mocked"), &json!("Ending::Complete")));
    assert!(whole["prompt_tokens"].as_i64().unwrap() > 0 && whole["answer_tokens"].as_i64().unwrap() > 0);
    let streamed = call(&root, "stream", json!({ "ask": "hello" })).await.expect(200);
    let (said, tokens) = streamed.as_str().unwrap().rsplit_once(" .").unwrap();
    assert_eq!(said, "This is what the proxy says.");
    assert!(tokens.parse::<u32>().unwrap() > 0);
    for function in ["complete", "stream"] {
        for (model, expected) in [("busy", "llm_busy"), ("broken", "llm_failed"), ("missing", "llm_failed")] {
            let answer = call(&root, function, json!({ "ask": "hello", "model": model })).await;
            assert_eq!(answer.problem(503), expected, "{function} {model}");
        }
    }
    assert!(!app.log().contains(OPENAI_KEY));
}

//! Components that no compiler of plugins would make, installed into a real server: each ends in a named error, and
//! its neighbours don't notice.

use patchbay_runtime::Runtime;
use patchbay_tests::{
    Answer, TestApp, User, component, custom_section, guest, json, leb, manifest, packed, renamed,
    without_manifest,
};

const PLAIN: &str = "name = \"odd\"\nversion = \"1.0.0\"\n";

/// A server with its superuser and a message that the neighbour decorates.
async fn server(settings: &[&str]) -> (TestApp, User, String) {
    let app = TestApp::start_with(settings).await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    ann.say(channel, "hello").await;
    (app, ann, format!("/api/channels/{channel}/messages"))
}

async fn neighbours_are_well(ann: &User, messages: &str) {
    let list = ann.get(messages).await.expect(200);
    assert_eq!(list["items"][0]["extensions"]["reactions"], json!([]), "{list:#}");
}

async fn install(ann: &User, wat: &str) -> Answer {
    ann.install("odd", packed(&wat::parse_str(wat).unwrap(), PLAIN)).await
}

/// Modules that take these pages of memory when they are instantiated, each once.
fn memories(modules: &[u32]) -> String {
    let grow = |pages: &u32| {
        format!(
            "(core module $m{pages} (memory 1)
               (func $start (if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then unreachable)))
               (start $start))"
        )
    };
    let mut kinds = modules.to_vec();
    kinds.dedup();
    let instances = modules.iter().map(|pages| format!("(core instance (instantiate $m{pages}))"));
    format!("(component {} {})", kinds.iter().map(grow).collect::<String>(), instances.collect::<String>())
}

#[tokio::test]
async fn several_memories_and_tables_are_summed_and_counted() {
    let (_app, ann, messages) = server(&[]).await;
    // 64 MiB are 1,024 pages.
    install(&ann, &memories(&[400, 400])).await.expect(201);
    for (wat, what) in [
        (memories(&[600, 600]), "two memories that are too large together"),
        (memories(&[1100]), "one that is too large"),
        (memories(&[1, 1, 1]), "three memories"),
        (
            "(component (core module $m (memory 1) (memory 1)) (core instance (instantiate $m)))".into(),
            "two in one module",
        ),
        (
            "(component (core module $m (memory 2000)) (core instance (instantiate $m)))".into(),
            "a large one from the start",
        ),
        (
            "(component (core module $m (table 60000 funcref)) (core instance (instantiate $m)))".into(),
            "a large table",
        ),
        (
            format!(
                "(component (core module $m {}) (core instance (instantiate $m)))",
                "(table 1 funcref)".repeat(5)
            ),
            "many tables in one module",
        ),
        (
            format!(
                "(component (core module $m (table 1 funcref) (table 1 funcref) (table 1 funcref)) {})",
                "(core instance (instantiate $m))".repeat(3)
            ),
            "many tables together",
        ),
        (
            format!("(component (core module $m) {})", "(core instance (instantiate $m))".repeat(17)),
            "many instances",
        ),
    ] {
        assert_eq!(install(&ann, &wat).await.problem(422), "resources_exceeded", "{what}");
        neighbours_are_well(&ann, &messages).await;
    }
    let refused =
        ann.patch("/api/admin/plugins/odd", &json!({ "limits": { "memory_bytes": 40 << 20 } })).await;
    assert_eq!(refused.problem(422), "resources_exceeded", "the sum is held against the plugin's own limit");
}

#[tokio::test]
async fn handles_are_bounded() {
    let (_app, ann, messages) = server(&[]).await;
    let taking = |count: u32| {
        format!(
            r#"(component
              (type $r (resource (rep i32)))
              (core func $new (canon resource.new $r))
              (core module $m
                (import "" "new" (func $new (param i32) (result i32)))
                (func $start (local $n i32)
                  (loop $again
                    (drop (call $new (i32.const 1)))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $n) (i32.const {count})))))
                (start $start))
              (core instance (instantiate $m (with "" (instance (export "new" (func $new)))))))"#
        )
    };
    install(&ann, &taking(200)).await.expect(201);
    let answer = install(&ann, &taking(300)).await;
    assert!(answer.body["detail"].as_str().unwrap().contains("more handles"), "{:#}", answer.body);
    assert_eq!(answer.problem(422), "resources_exceeded");
    let limited = ann.patch("/api/admin/plugins/odd", &json!({ "limits": { "handles": 100 } })).await;
    assert_eq!(limited.problem(422), "resources_exceeded");
    neighbours_are_well(&ann, &messages).await;
}

#[tokio::test]
async fn what_fails_at_its_start_is_refused() {
    let (_app, ann, messages) = server(&[]).await;
    let starting = |body: &str| {
        format!(
            "(component (core module $m (func $start {body}) (start $start)) (core instance (instantiate $m)))"
        )
    };
    for (body, code) in [
        ("(loop $again (br $again))", "resources_exceeded"),
        ("unreachable", "start_failed"),
        ("(call $start)", "start_failed"),
    ] {
        assert_eq!(install(&ann, &starting(body)).await.problem(422), code, "{body}");
        neighbours_are_well(&ann, &messages).await;
    }
}

#[tokio::test]
async fn a_lying_manifest_is_found_out() {
    let (_app, ann, messages) = server(&[]).await;
    let empty = wat::parse_str("(component)").unwrap();
    let whoami = guest("whoami");
    let bare = without_manifest(&whoami);
    let with = |more: &str| packed(&bare, &format!("name = \"odd\"\nversion = \"1.0.0\"\n{more}"));
    let route = |path: &str| format!("[[routes]]\nmethod = \"GET\"\npath = \"{path}\"\nauth = \"none\"\n");
    let own = route("/api/plugins/odd/x");
    let nested = {
        let mut section = vec![4];
        let inner = packed(&empty, PLAIN);
        leb(inner.len(), &mut section);
        [&empty[..], &section, &inner].concat()
    };
    let no_text = [&bare[..], &custom_section("patchbay:manifest", b"name = \"\xff\"")].concat();
    for (bytes, code, what) in [
        (packed(&empty, &format!("{PLAIN}{own}")), "export_mismatch", "routes without an export"),
        (packed(&bare, &manifest(&whoami)), "name_mismatch", "another plugin's name"),
        (packed(&packed(&bare, PLAIN), PLAIN), "manifest_invalid", "two manifests"),
        (with(&format!("description = \"{}\"\n", "x".repeat(300 << 10))), "manifest_invalid", "a huge one"),
        (with(&own.repeat(2)), "manifest_invalid", "the same route twice"),
        (with("capabilities = 7\n"), "manifest_invalid", "another type"),
        (with("colour = \"red\"\n"), "manifest_invalid", "an unknown key"),
        (no_text, "manifest_invalid", "no text"),
        (nested, "manifest_missing", "one that only an inner component has"),
        (with(&route("/api/users/me")), "route_conflict", "a route of the host"),
        (
            packed(&without_manifest(&guest("kv-probe")), PLAIN),
            "capability_undeclared",
            "imports that it hides",
        ),
    ] {
        assert_eq!(ann.install("odd", bytes).await.problem(422), code, "{what}");
        neighbours_are_well(&ann, &messages).await;
    }
    // Asking for more than it imports gets it nothing: it waits for a grant that it has no use for.
    let greedy = ann.install("odd", with("capabilities = [\"kv\", \"messages\"]\n")).await.expect(201);
    assert_eq!(greedy["state"], "pending_grants");
    // Nor can every path be granted.
    let outside = ann.install("odd", with(&route("/etc/passwd"))).await.expect(200);
    assert_eq!(outside["state"], "pending_grants");
    let granted = ann.patch("/api/admin/plugins/odd", &json!({ "routes": ["/etc/passwd"] })).await;
    assert_eq!(granted.problem(422), "validation_failed");
}

#[tokio::test]
async fn no_piece_of_a_component_is_taken_for_a_whole_one() {
    let (_app, ann, messages) = server(&[]).await;
    let whole = component("reactions");
    for end in 0..whole.len() {
        let refused = Runtime::inspect(&whole[..end]).unwrap_err();
        let named = ["not_a_component", "malformed_component", "manifest_missing", "manifest_invalid"];
        assert!(named.contains(&refused.code()), "{end}: {refused}");
    }
    let inspection = Runtime::inspect(&whole).unwrap();
    assert_eq!(inspection.manifest.name, "reactions");
    for step in 0..40 {
        let end = whole.len() * step / 40;
        let code = ann.install("reactions", whole[..end].to_vec()).await.problem(422);
        assert!(
            ["not_a_component", "malformed_component", "manifest_missing"].contains(&code.as_str()),
            "{code}"
        );
    }
    neighbours_are_well(&ann, &messages).await;
}

/// A component with a module of so many functions, which all have this body.
fn functions(functions: usize, body: &[u8]) -> Vec<u8> {
    let section = |id: u8, content: &[u8]| {
        let mut section = vec![id];
        leb(content.len(), &mut section);
        section.extend_from_slice(content);
        section
    };
    let counted = |item: &[u8]| {
        let mut content = Vec::new();
        leb(functions, &mut content);
        content.extend(item.repeat(functions));
        content
    };
    let mut code = Vec::new();
    leb(body.len(), &mut code);
    code.extend_from_slice(body);
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 0, 0]),
        section(3, &counted(&[0])),
        section(10, &counted(&code)),
    ];
    packed(&[b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module.concat())].concat(), PLAIN)
}

/// A body of 70 KiB that takes the compiler minutes: ten thousand loops, and a hundred variables that live through all.
fn slow() -> Vec<u8> {
    let looped = [0x03, 0x40, 0x20, 0x00, 0x0d, 0x00, 0x0b];
    let used = (0..100u8).flat_map(|variable| [0x20, variable, 0x1a]).collect::<Vec<_>>();
    [&[1, 100, 0x7f][..], &looped.repeat(10_000), &used, &[0x0b]].concat()
}

#[tokio::test]
async fn compiling_has_bounds_and_keeps_nobody_waiting() {
    let (app, ann, messages) = server(&["plugins.compile_time=8s"]).await;
    // What needs no compiler to be refused.
    assert_eq!(
        ann.install("odd", functions(1, &[&[0][..], &vec![1; 2 << 20], &[0x0b]].concat())).await.problem(422),
        "resources_exceeded",
        "a huge function"
    );
    assert_eq!(
        ann.install("odd", functions(200_001, &[0, 0x0b])).await.problem(422),
        "resources_exceeded",
        "functions"
    );
    let inner = (0..100).map(|n| format!("(core module $m{n})")).collect::<String>();
    assert_eq!(
        install(&ann, &format!("(component {inner})")).await.problem(422),
        "resources_exceeded",
        "modules"
    );
    let deep = format!("{}{}", "(component ".repeat(90), ")".repeat(90));
    assert_eq!(install(&ann, &deep).await.problem(422), "resources_exceeded", "depth");
    // What takes a while is given up, and meanwhile the others are served.
    let installing = tokio::spawn({
        let ann = ann.clone();
        async move { ann.install("odd", functions(1, &slow())).await }
    });
    let mut served = 0;
    while !installing.is_finished() {
        neighbours_are_well(&ann, &messages).await;
        served += 1;
    }
    assert_eq!(installing.await.unwrap().problem(422), "compile_timeout");
    assert!(served > 3, "only {served} requests were served meanwhile");
    // The next one is compiled, and then nothing is left of either.
    let small = renamed(&guest("whoami"), "whoami", "small");
    assert_eq!(ann.install("small", small).await.expect(201)["state"], "active");
    let threads = std::fs::read_dir(format!("/proc/{}/task", app.pid())).unwrap();
    let children = threads
        .map(|thread| std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default());
    assert_eq!(children.collect::<String>(), "", "a compiler is still there");
    neighbours_are_well(&ann, &messages).await;
}

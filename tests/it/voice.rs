//! Voice channels: who hears whom, who is listed, and that the two never differ.

mod client;
mod foreign;
mod networks;

use std::time::{Duration, Instant};

use patchbay_tests::{Socket, TestApp, User, Value, json};

use client::{Client, signal};

/// A public voice channel of this user's.
async fn room(user: &User, name: &str, is_public: bool) -> i64 {
    let channel = json!({ "name": name, "is_vc": true, "is_public": is_public });
    user.post("/api/channels/", &channel).await.expect(201)["id"].as_i64().unwrap()
}

async fn listed(user: &User, channel: i64) -> Vec<i64> {
    let list = user.get(&format!("/api/channels/{channel}/voice")).await.expect(200);
    list["items"].as_array().unwrap().iter().map(|one| one["user_id"].as_i64().unwrap()).collect()
}

async fn settles(mut is_so: impl AsyncFnMut() -> bool, within: Duration) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < within, "not within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_hear_each_other() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = room(&ann, "lounge", true).await;
    bob.post(&format!("/api/channels/{channel}/members"), &json!({ "user_id": bob.id })).await.expect(201);
    let mut chat = bob.socket().await;
    let mut first = Client::join(&app, &ann, channel).await;
    let told = chat.event("voice.joined").await;
    assert_eq!(told["data"], json!({ "channel_id": channel, "user_id": ann.id }));
    let mut second = Client::join(&app, &bob, channel).await;
    assert_eq!(listed(&ann, channel).await, [ann.id, bob.id]);
    let came = first.socket.event("participant.joined").await;
    assert_eq!(came["data"]["user_id"], bob.id);
    tokio::join!(first.speak(50, 1), second.speak(50, 2));
    first.hears(2, 48).await;
    second.hears(1, 48).await;
    assert_eq!((first.heard(1), second.heard(2)), (0, 0), "nobody hears itself");
    let slot = second.socket.event("slot").await;
    assert_eq!(slot["data"], json!({ "index": 0, "participant_id": first.participant() }));
    loop {
        let speaking = second.socket.event("speaking").await["data"].clone();
        if speaking["participant_id"] == first.participant() {
            assert_eq!(speaking["on"], true);
            break;
        }
    }
    // Muted by itself.
    assert_eq!(first.socket.call("mute", json!({ "audio": true })).await["type"], "ack");
    let before = second.heard(1);
    first.speak(10, 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(second.heard(1), before);
    // And gone.
    assert_eq!(first.socket.call("leave", json!({})).await["type"], "ack");
    assert_eq!(first.socket.event("ended").await["data"]["reason"], "left");
    assert_eq!(first.socket.close_code().await, 1000);
    let left = second.socket.event("participant.left").await;
    assert_eq!((&left["data"]["user_id"], &left["data"]["reason"]), (&json!(ann.id), &json!("left")));
    assert_eq!(chat.event("voice.left").await["data"]["user_id"], ann.id);
    assert_eq!(listed(&ann, channel).await, [bob.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn moderators_mute_move_and_remove() {
    let app = TestApp::start().await;
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let (here, there) = (room(&ann, "here", true).await, room(&ann, "there", true).await);
    let of = |channel: i64, user: &User| format!("/api/channels/{channel}/voice/{}", user.id);
    assert_eq!(
        ann.patch(&of(here, &bob), &json!({ "muted": true })).await.problem(404),
        "voice_participant_not_found"
    );
    let first = Client::join(&app, &ann, here).await;
    let mut second = Client::join(&app, &bob, here).await;
    second.speak(10, 2).await;
    first.hears(2, 9).await;
    assert_eq!(bob.patch(&of(here, &ann), &json!({ "muted": true })).await.problem(403), "forbidden");
    assert_eq!(bob.delete(&of(here, &ann)).await.problem(403), "forbidden");
    let muted = ann.patch(&of(here, &bob), &json!({ "muted": true })).await.expect(200);
    assert_eq!((&muted["server_muted"], &muted["muted"]), (&json!(true), &json!(false)));
    let before = first.heard(2);
    second.speak(10, 2).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(first.heard(2), before, "dropped at the door");
    ann.patch(&of(here, &bob), &json!({ "muted": false })).await.expect(200);
    second.speak(10, 2).await;
    first.hears(2, before + 9).await;
    // Moved.
    ann.patch(&of(here, &bob), &json!({ "channel_id": there })).await.expect(200);
    let ended = second.socket.event("ended").await;
    assert_eq!(ended["data"], json!({ "reason": "moved", "channel_id": there }));
    let (mut moved, _) = signal(&app, &bob, there).await;
    // Removed.
    ann.delete(&of(there, &bob)).await.expect(204);
    assert_eq!(moved.event("ended").await["data"]["reason"], "removed");
    assert_eq!(moved.close_code().await, 1000);
    // Where neither may go.
    let secret = room(&cid, "secret", false).await;
    let (_socket, _) = signal(&app, &bob, here).await;
    let refused = ann.patch(&of(here, &bob), &json!({ "channel_id": secret })).await;
    assert_eq!(refused.problem(404), "channel_not_found");
    // Oneself.
    bob.delete(&of(here, &bob)).await.expect(204);
    assert_eq!(listed(&ann, here).await, [ann.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_no_longer_be_there_is_out_within_a_second() {
    let app = TestApp::start().await;
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let second = Duration::from_secs(1);
    let members = |channel: i64| format!("/api/channels/{channel}/members");
    let closed = |mut socket: Socket| async move {
        assert_eq!(socket.event("ended").await["data"]["reason"], "removed");
        assert_eq!(socket.close_code().await, 1000);
    };
    // No longer a member of a private one.
    let private = room(&ann, "private", false).await;
    ann.post(&members(private), &json!({ "user_id": bob.id })).await.expect(201);
    let (socket, _) = signal(&app, &bob, private).await;
    ann.delete(&format!("{}/{}", members(private), bob.id)).await.expect(204);
    settles(async || listed(&ann, private).await.is_empty(), second).await;
    closed(socket).await;
    // A public one becomes private: members stay.
    let public = room(&ann, "public", true).await;
    ann.post(&members(public), &json!({ "user_id": bob.id })).await.expect(201);
    let (member, _) = signal(&app, &bob, public).await;
    let (stranger, _) = signal(&app, &cid, public).await;
    let path = format!("/api/channels/{public}");
    ann.patch(&path, &json!({ "is_public": false })).await.expect(200);
    settles(async || listed(&ann, public).await == [bob.id], second).await;
    closed(stranger).await;
    // It is none for voice any more, and is gone.
    ann.patch(&path, &json!({ "is_vc": false })).await.expect(200);
    closed(member).await;
    assert_eq!(listed(&ann, public).await, [0; 0]);
    let short = room(&ann, "short", true).await;
    let (socket, _) = signal(&app, &bob, short).await;
    ann.delete(&format!("/api/channels/{short}")).await.expect(204);
    closed(socket).await;
    // The login ends.
    let lounge = room(&ann, "lounge", true).await;
    let (mut socket, _) = signal(&app, &bob, lounge).await;
    bob.post("/api/auth/logout", &json!({})).await.expect(204);
    settles(async || listed(&ann, lounge).await.is_empty(), second).await;
    assert_eq!(socket.close_code().await, 4401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_socket_does_not_drop_the_sound() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = room(&ann, "lounge", true).await;
    let mut first = Client::join(&app, &ann, channel).await;
    let second = Client::join(&app, &bob, channel).await;
    let who = first.participant();
    // As when a network goes away: the server is not told.
    drop(std::mem::replace(&mut first.socket, Socket::connect(&app.url).await));
    first.speak(20, 1).await;
    second.hears(1, 19).await;
    let (mut socket, joined) = signal(&app, &ann, channel).await;
    assert_eq!((&joined["participant_id"], &joined["resumed"]), (&json!(who), &json!(true)));
    assert_eq!(socket.call("resume", json!({ "participant_id": who })).await["type"], "ack");
    assert_eq!(socket.call("resume", json!({ "participant_id": 999 })).await["data"]["code"], "conflict");
    first.speak(20, 1).await;
    second.hears(1, 38).await;
    // Another login of the same user is another client.
    let elsewhere = app.login("ann").await;
    let (_socket, joined) = signal(&app, &elsewhere, channel).await;
    assert_eq!(joined["resumed"], false);
    assert_eq!(socket.event("ended").await["data"]["reason"], "replaced");
    // Sound that ends is seen.
    second.hang_up().await;
    settles(
        async || {
            let list = ann.get(&format!("/api/channels/{channel}/voice")).await.expect(200);
            list["items"][0]["media"] == "lost"
        },
        Duration::from_secs(5),
    )
    .await;
}

/// An offer as a client with three ears makes it.
fn offer() -> String {
    let section = |mid: usize, rest: &str| {
        format!(
            "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=ice-ufrag:abcdefgh\r\n\
             a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n{rest}\r\n"
        )
    };
    let fingerprint = vec!["AB"; 32].join(":");
    let mut sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2 3\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\n"
    );
    sdp.push_str(&section(0, "a=sendonly\r\na=ssrc:7 cname:x"));
    for mid in 1..=3 {
        sdp.push_str(&section(mid, "a=recvonly"));
    }
    sdp
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_joins_leave_nothing_behind() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let channel = room(&ann, "lounge", true).await;
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", app.pid())).unwrap().count();
    let mut before = None;
    for round in 0..1_000 {
        if round == 300 {
            before = Some((app.memory(), descriptors()));
        }
        let (mut socket, _) = signal(&app, &ann, channel).await;
        let answer = socket.call("offer", json!({ "sdp": offer() })).await;
        assert_eq!(answer["type"], "answer", "{answer}");
        socket.call("leave", json!({})).await;
        assert_eq!(socket.close_code().await, 1000);
    }
    let (memory, open) = before.unwrap();
    let grown = app.memory().saturating_sub(memory);
    // A connection has about 100 kB: 700 of them would be seventy megabytes.
    assert!(grown < 12 * 1024 * 1024, "{grown} bytes more after 700 joins");
    settles(async || descriptors() <= open, Duration::from_secs(10)).await;
    assert_eq!(listed(&ann, channel).await, [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused() {
    let app = TestApp::start_with(&["voice.room_size=1"]).await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let refusal = async |user: &User, channel: i64| -> Value {
        let mut socket = Socket::open_at(&app.url, &format!("/ws/voice/{channel}"), &user.token).await;
        let error = socket.event("error").await["data"]["code"].clone();
        assert_eq!(socket.close_code().await, 1008);
        error
    };
    let text =
        ann.post("/api/channels/", &json!({ "name": "text" })).await.expect(201)["id"].as_i64().unwrap();
    assert_eq!(refusal(&ann, text).await, "not_a_voice_channel");
    let private = room(&ann, "private", false).await;
    assert_eq!(refusal(&bob, private).await, "channel_not_found");
    assert_eq!(refusal(&bob, 999).await, "channel_not_found");
    let public = room(&ann, "public", true).await;
    let (mut socket, _) = signal(&app, &ann, public).await;
    assert_eq!(refusal(&bob, public).await, "room_full");
    for (kind, data, code) in [
        ("offer", json!({ "sdp": "" }), "offer_refused"),
        ("offer", json!({ "sdp": format!("v=0\r\n{}", "a=x\r\n".repeat(8_000)) }), "offer_refused"),
        ("offer", json!({}), "validation_failed"),
        ("mute", json!({ "audio": "yes" }), "validation_failed"),
        ("message.send", json!({ "channel_id": 1, "content": "x" }), "unknown_type"),
    ] {
        let answer = socket.call(kind, data).await;
        assert_eq!(answer["data"]["code"], code, "{answer}");
    }
    let candidate = json!({ "candidate": { "candidate": "candidate:1 1 udp 1 10.0.0.1 9 typ host" } });
    assert_eq!(socket.call("candidate", candidate).await["type"], "ack");
    let last = async {
        loop {
            let answer = socket.call("offer", json!({ "sdp": "v=0" })).await;
            if answer["data"]["code"] != "offer_refused" {
                return answer["data"]["code"].clone();
            }
        }
    };
    assert_eq!(last.await, "rate_limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_said_and_turn_servers_are_given() {
    let taken = std::net::UdpSocket::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let data = tempfile::tempdir().unwrap();
    let settings = [format!("voice.udp_port={port}"), "server.listen=127.0.0.1:0".to_owned()];
    let output = patchbay_tests::command(data.path(), &settings, "serve", &[]).await;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("UDP port {port} is in use")), "{said}");
    let app = TestApp::start_with(&[
        "voice.udp_port=off",
        "voice.turn=stun:a.example:3478,turn:b.example:3478",
        "voice.turn_secret=north",
    ])
    .await;
    let ann = app.user("ann").await;
    let channel = room(&ann, "lounge", true).await;
    assert_eq!(listed(&ann, channel).await, [0; 0]);
    let mut socket = Socket::open_at(&app.url, &format!("/ws/voice/{channel}"), &ann.token).await;
    assert_eq!(socket.event("error").await["data"]["code"], "unavailable");
    let app = TestApp::start_with(&[
        "voice.udp_port=auto",
        "voice.turn=stun:a.example:3478,turn:b.example:3478",
        "voice.turn_secret=north",
    ])
    .await;
    let ann = app.user("ann").await;
    let channel = room(&ann, "lounge", true).await;
    let (_socket, joined) = signal(&app, &ann, channel).await;
    let servers = joined["ice_servers"].as_array().unwrap();
    assert_eq!(servers[0], json!({ "urls": ["stun:a.example:3478"] }));
    assert_eq!(servers[1]["urls"], json!(["turn:b.example:3478"]));
    let (until, user) = servers[1]["username"].as_str().unwrap().split_once(':').unwrap();
    assert_eq!(user, ann.id.to_string());
    assert!(until.parse::<u64>().unwrap() > 1_700_000_000);
    assert_eq!(servers[1]["credential"].as_str().unwrap().len(), 28);
}

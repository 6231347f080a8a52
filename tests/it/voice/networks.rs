//! Voice over networks that are worse than this machine's own.

use std::time::Duration;

use patchbay_tests::{
    Lossy, TestApp, User, Weather, aiortc, coturn,
    networks::{Host, inside, shell},
};

use super::{
    client::{Client, candidate, signal},
    foreign::{tones_at, turn_server},
    listed, offer, room, settles,
};

/// The figure of a metric that has one series.
async fn metric(app: &TestApp, name: &str) -> Option<f64> {
    let text = reqwest::get(format!("{}/metrics", app.url)).await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("patchbay_voice_{name}{{")))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// The port that a server tells its clients to send to.
async fn port_of(app: &TestApp, user: &User, channel: i64) -> u16 {
    let (mut socket, _) = signal(app, user, channel).await;
    let answer = socket.call("offer", patchbay_tests::json!({ "sdp": offer() })).await;
    let port = candidate(answer["data"]["sdp"].as_str().unwrap()).parse().unwrap();
    socket.call("leave", patchbay_tests::json!({})).await;
    port
}

/// One packet in five is lost, three or four at a time, on the way to the server and on the way back; the others take 20 to 35 ms and
/// overtake each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_of_the_packets_is_lost_and_people_hear_each_other() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = room(&ann, "lounge", true).await;
    let port = port_of(&app, &ann, channel).await;
    let (delay, jitter) = (Duration::from_millis(20), Duration::from_millis(15));
    let weather = Weather { begins: 7, ends: 28, delay, jitter };
    let way = Lossy::before(port, weather, 12_345).await;
    let (mut first, mut second) = tokio::join!(
        Client::join_by(&app, &ann, channel, Some(way.port())),
        Client::join_by(&app, &bob, channel, Some(way.port())),
    );
    tokio::join!(first.speak(750, 1), second.speak(750, 2));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let lost = way.percent_lost();
    assert!((15..=25).contains(&lost), "{lost} % lost");
    let list = ann.get(&format!("/api/channels/{channel}/voice")).await.expect(200);
    for one in list["items"].as_array().unwrap() {
        assert_eq!(one["media"], "connected", "{list}");
    }
    // Two ways that lose a fifth each would leave 64 %.
    for (who, heard) in [("ann", first.heard_once(2)), ("bob", second.heard_once(1))] {
        assert!(heard > 750 * 85 / 100, "{who} hears {heard} of 750");
    }
    let resent = metric(&app, "packets_resent_total").await.unwrap();
    assert!(resent > 100.0, "{resent} packets sent again");
    let lost = metric(&app, "packets_lost_total").await.unwrap();
    assert!((0.0..300.0).contains(&lost), "{lost} of 1500 never came, after they were asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_the_network_does() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = room(&ann, "lounge", true).await;
    let port = port_of(&app, &ann, channel).await;
    assert_eq!(metric(&app, "round_trip_seconds").await, None, "nobody is there");
    // Nothing is lost; everything takes 40 ms each way.
    let weather = Weather { begins: 0, ends: 100, delay: Duration::from_millis(40), jitter: Duration::ZERO };
    let way = Lossy::before(port, weather, 7).await;
    let mut first = Client::join_by(&app, &ann, channel, Some(way.port())).await;
    let second = Client::join_by(&app, &bob, channel, Some(way.port())).await;
    first.speak(350, 1).await;
    second.hears(1, 340).await;
    assert_eq!(metric(&app, "participants").await, Some(2.0));
    assert_eq!(metric(&app, "connected").await, Some(2.0));
    assert_eq!(metric(&app, "packets_received_total").await, Some(350.0));
    assert_eq!(metric(&app, "packets_lost_total").await, Some(0.0));
    let forwarded = metric(&app, "packets_forwarded_total").await.unwrap();
    assert!((340.0..=350.0).contains(&forwarded), "{forwarded}");
    let round_trip = metric(&app, "round_trip_seconds").await.expect("listeners report");
    assert!((0.08..0.4).contains(&round_trip), "{round_trip} s there and back");
    let jitter = metric(&app, "jitter_seconds").await.unwrap();
    assert!(jitter < 0.05, "{jitter}");
}

/// A server behind a NAT that lets one UDP port and the web in, and is told its address outside.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_nat_one_open_port_and_one_setting_are_enough() {
    if !inside("voice::networks::behind_a_nat_one_open_port_and_one_setting_are_enough") {
        return;
    }
    let Some(python) = aiortc() else { return };
    let (nat, client) = (Host::new().await, Host::new().await);
    nat.wire("in", "eth0");
    nat.wire_to("out", &client, "eth0");
    shell("ip addr add 10.9.0.2/24 dev eth0 && ip link set eth0 up && ip route add default via 10.9.0.1");
    client.shell("ip addr add 198.18.0.2/24 dev eth0 && ip link set eth0 up");
    nat.shell(
        "ip addr add 10.9.0.1/24 dev in; ip link set in up; ip addr add 198.18.0.1/24 dev out; ip link set out up
         echo 1 > /proc/sys/net/ipv4/ip_forward
         nft -f - <<'RULES'
         table ip nat {
           chain before { type nat hook prerouting priority -100;
             iifname \"out\" udp dport 7882 dnat to 10.9.0.2; iifname \"out\" tcp dport 8080 dnat to 10.9.0.2; }
           chain after { type nat hook postrouting priority 100; oifname \"out\" masquerade; }
         }
         table ip filter {
           chain forward { type filter hook forward priority 0; policy drop;
             ct state established,related accept
             iifname \"in\" accept
             iifname \"out\" udp dport 7882 accept
             iifname \"out\" tcp dport 8080 accept
           }
         }
RULES",
    );
    let app = TestApp::start_with(&[
        "server.listen=10.9.0.2:8080",
        "voice.udp_port=7882",
        "voice.public_ip=198.18.0.1",
    ])
    .await;
    tones_at(&python, &app, "http://198.18.0.1:8080", &client.prefix(), &[]).await;
}

/// Clients whose network drops every UDP packet get through by the TURN server, by TCP, without being told to.
#[tokio::test(flavor = "multi_thread")]
async fn where_udp_is_blocked_the_turn_server_is_found() {
    if !inside("voice::networks::where_udp_is_blocked_the_turn_server_is_found") {
        return;
    }
    let (Some(python), Some(coturn)) = (aiortc(), coturn()) else { return };
    let client = Host::new().await;
    client.wire("eth0", "eth0");
    shell("ip addr add 10.9.0.1/24 dev eth0 && ip link set eth0 up");
    client.shell(
        "ip addr add 10.9.0.2/24 dev eth0 && ip link set eth0 up
         nft add table inet no && nft 'add chain inet no out { type filter hook output priority 0; }'
         nft add rule inet no out meta l4proto udp drop",
    );
    let place = tempfile::tempdir().unwrap();
    let _turn = turn_server(&coturn, place.path(), "10.9.0.1", 3478);
    let app = TestApp::start_with(&[
        "server.listen=10.9.0.1:8080",
        "voice.public_ip=10.9.0.1",
        "voice.turn=turn:10.9.0.1:3478?transport=tcp",
        "voice.turn_secret=north",
    ])
    .await;
    tones_at(&python, &app, &app.url, &client.prefix(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_only_ipv6() {
    if !inside("voice::networks::where_there_is_only_ipv6") {
        return;
    }
    let Some(python) = aiortc() else { return };
    let client = Host::new().await;
    client.wire("eth0", "eth0");
    shell("ip addr add fd00:9::1/64 dev eth0 nodad && ip link set eth0 up");
    client.shell("ip addr add fd00:9::2/64 dev eth0 nodad && ip link set eth0 up");
    let app = TestApp::start_with(&["server.listen=[fd00:9::1]:8080", "voice.public_ip=fd00:9::1"]).await;
    tones_at(&python, &app, &app.url, &client.prefix(), &[]).await;
}

/// Joins with media that connect, many at a time: nothing of them is left. So many that what one leaves behind would be seen.
async fn come_and_go(rounds: usize) {
    const AT_ONCE: usize = 10;
    let app = TestApp::start().await;
    let mut users = Vec::new();
    for number in 0..AT_ONCE {
        users.push(app.user(&format!("user{number}")).await);
    }
    let channel = room(&users[0], "lounge", true).await;
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", app.pid())).unwrap().count();
    let mut before = None;
    for round in 0..rounds {
        // What is kept for the first ones is kept for good.
        if round == rounds / 3 {
            before = Some((app.memory(), descriptors()));
        }
        let visits = users.iter().map(|user| async {
            let mut client = Client::join(&app, user, channel).await;
            client.speak(3, 1).await;
            client.socket.call("leave", patchbay_tests::json!({})).await;
            client.hang_up().await;
        });
        futures_util::future::join_all(visits).await;
    }
    settles(async || listed(&users[0], channel).await.is_empty(), Duration::from_secs(5)).await;
    let (memory, open) = before.unwrap();
    let grown = app.memory().saturating_sub(memory);
    // A connection has about 100 kB.
    let stays = (rounds - rounds / 3) * AT_ONCE;
    let leaked = u64::try_from(stays).unwrap() * 100 * 1024;
    assert!(grown < (leaked / 4).max(8 << 20), "{grown} bytes more");
    // The server keeps a few connections to its database, and to those who ask it by HTTP, as it needs them.
    settles(async || descriptors() < open + stays / 4, Duration::from_secs(10)).await;
    eprintln!(
        "{stays} stays: {grown} bytes and {} descriptors more",
        descriptors().cast_signed() - open.cast_signed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_connected_leave_nothing_behind() {
    come_and_go(20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: cargo xtask test a_thousand_connected --run-ignored only"]
async fn a_thousand_connected_leave_nothing_behind() {
    come_and_go(100).await;
}

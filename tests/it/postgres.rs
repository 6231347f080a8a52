//! What only PostgreSQL can do to a server: be in use elsewhere, go away, and come back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use patchbay_core::{Seq, Timestamp};
use patchbay_store::{Location, Store, StoreError};
use patchbay_tests::{TestApp, anonymous, json, postgres, program};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::store::{entry, new_user, open, user, write};

/// How long a server may take to find a database that has come back.
const RECOVERY: Duration = Duration::from_secs(20);

/// Adds a user, and tells the journal.
async fn add(store: &Store, name: &str) -> Result<(), StoreError> {
    let new = new_user(name);
    let added = write(store, move |tx| {
        Box::pin(async move {
            tx.append(entry("{}"));
            tx.insert_user(&new, Timestamp::now()).await
        })
    });
    added.await.map(|_| ())
}

#[tokio::test]
async fn a_second_server_is_refused_until_the_first_has_gone() {
    let Some(database) = postgres::database().await else { return };
    let location = Location::postgres(&database.url).unwrap();
    let first = open(&location).await;
    let second = Store::open(&location).await;
    assert!(matches!(second, Err(StoreError::InUse)), "{second:?}");
    user(&first, "ann").await;
    let (second, ()) = tokio::join!(Store::open(&location), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        first.close().await;
    });
    let second = second.unwrap();
    assert!(second.read().await.unwrap().user_by_name("ann").await.unwrap().is_some());
}

#[tokio::test]
async fn a_connection_lost_in_mid_batch_loses_that_batch_alone() {
    let Some(database) = postgres::database().await else { return };
    let store = Arc::new(open(&Location::postgres(&database.url).unwrap()).await);
    for round in 0..3 {
        let (entered, inside) = oneshot::channel();
        let (leave, left) = oneshot::channel();
        let writer = Arc::clone(&store);
        let cut_off = tokio::spawn(async move {
            write(&writer, move |tx| {
                Box::pin(async move {
                    tx.append(entry("{}"));
                    tx.insert_user(&new_user(&format!("lost{round}")), Timestamp::now()).await?;
                    entered.send(()).unwrap();
                    left.await.unwrap();
                    tx.insert_user(&new_user(&format!("unheard{round}")), Timestamp::now()).await
                })
            })
            .await
        });
        inside.await.unwrap();
        let others: Vec<_> = (0..40)
            .map(|n| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { add(&store, &format!("user{round}.{n}")).await })
            })
            .collect();
        assert!(database.terminate_connections().await >= 1);
        leave.send(()).unwrap();
        let lost = cut_off.await.unwrap();
        assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
        for other in others {
            other.await.unwrap().expect("what waited is written by the next connection");
        }
    }
    let entries = store.read().await.unwrap().journal(Seq(0), 1000).await.expect("readers are replaced too");
    assert_eq!(entries.iter().map(|e| e.seq.0).collect::<Vec<_>>(), (1..=120).collect::<Vec<_>>());
    assert_eq!(*store.head().borrow(), 120);
    let mut conn = store.read().await.unwrap();
    for name in ["lost0", "unheard0", "lost1", "unheard1", "lost2", "unheard2"] {
        assert!(conn.user_by_name(name).await.unwrap().is_none(), "{name}");
    }
}

#[tokio::test]
async fn an_outage_that_nobody_noticed_costs_nobody_a_write() {
    let Some(database) = postgres::database_on_own_server().await else { return };
    let store = open(&Location::postgres(&database.url).unwrap()).await;
    user(&store, "ann").await;
    for name in ["bob", "eve"] {
        database.stop();
        database.start_again();
        add(&store, name).await.expect("nothing had been done on the lost connection");
    }
    database.terminate_connections().await;
    add(&store, "dan").await.expect("nor on one that was ended");
    let entries = store.read().await.unwrap().journal(Seq(0), 10).await.unwrap();
    assert_eq!(entries.iter().map(|e| e.seq.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(*store.head().borrow(), 3);
}

#[tokio::test]
async fn a_database_that_was_away_is_found_again() {
    let Some(database) = postgres::database_on_own_server().await else { return };
    let store = Arc::new(open(&Location::postgres(&database.url).unwrap()).await);
    user(&store, "ann").await;
    let enough = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (store, enough) = (Arc::clone(&store), Arc::clone(&enough));
            tokio::spawn(async move {
                let mut written = Vec::new();
                for n in 0.. {
                    let name = format!("user{writer}.{n}");
                    match add(&store, &name).await {
                        Ok(()) => written.push(name),
                        Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                        Err(other) => panic!("{other}"),
                    }
                    if enough.load(Ordering::Relaxed) {
                        break;
                    }
                }
                written
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    database.stop();
    for n in 0..20 {
        let refused = add(&store, &format!("refused{n}")).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let read = async { store.read().await?.user_by_name("ann").await };
    assert!(matches!(read.await, Err(StoreError::Unavailable(_))));
    database.start_again();
    let deadline = Instant::now() + RECOVERY;
    while let Err(error) = add(&store, "back").await {
        assert!(matches!(error, StoreError::Unavailable(_)) && Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    enough.store(true, Ordering::Relaxed);
    let mut written = vec!["back".to_owned()];
    for writer in writers {
        written.extend(tokio::time::timeout(RECOVERY, writer).await.unwrap().unwrap());
    }
    let mut conn = store.read().await.unwrap();
    for name in &written {
        assert!(conn.user_by_name(name).await.unwrap().is_some(), "{name} was acknowledged");
    }
    let head = conn.journal_head().await.unwrap();
    let entries = conn.journal(Seq(0), 1_000_000).await.unwrap();
    assert!(entries.iter().map(|e| e.seq.0).eq(1..=head.0), "the journal is dense");
    assert_eq!(*store.head().borrow(), head.0);
}

#[tokio::test]
async fn texts_that_it_cannot_keep_are_refused_by_name() {
    let Some(app) = TestApp::start_on_postgres().await else { return };
    let ann = app.user("ann").await;
    let answer = anonymous(&app.url)
        .post("/api/auth/login", &json!({ "username": "a\u{0}nn", "password": "correct horse" }))
        .await;
    assert!((400..500).contains(&answer.status), "{}: {:#}", answer.status, answer.body);
    let answer = ann.get("/api/users?q=a%00").await;
    assert!((200..500).contains(&answer.status), "{}: {:#}", answer.status, answer.body);
}

#[tokio::test]
async fn a_server_outlives_its_database() {
    let Some(database) = postgres::database_on_own_server().await else { return };
    let app = TestApp::start_on(database).await;
    for text in ["write transaction failed", "journal can't be read", "database", "plugin"] {
        app.expect_error(text);
    }
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    let first = ann.say(channel, "before").await;
    let mut socket = ann.socket().await;
    let seen = socket.hello["seq"].as_i64().unwrap();
    app.database().stop();
    let path = format!("/api/channels/{channel}/messages");
    let body = json!({ "content": "meanwhile" });
    ann.post(&path, &body).await.problem(503);
    let ready = anonymous(&app.url).get("/readyz").await.status;
    assert_eq!(ready, 503);
    app.database().start_again();
    let deadline = Instant::now() + RECOVERY;
    let second = loop {
        let answer = ann.post(&path, &json!({ "content": "after" })).await;
        match answer.status {
            201 => break answer.body["id"].as_i64().unwrap(),
            503 => assert!(Instant::now() < deadline, "{:#}", answer.body),
            other => panic!("{other}: {:#}", answer.body),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    // Whoever was cut off resumes; whoever was not has heard of it.
    let heard = match socket.next().await {
        Some(event) if event["type"] == "message.created" => event["data"]["id"].clone(),
        _ => ann.socket().await.resume(seen).await.1.first().expect("an event")["data"]["id"].clone(),
    };
    assert_eq!(heard, second);
    let page = ann.get(&path).await.expect(200);
    let ids: Vec<_> = page["items"].as_array().unwrap().iter().map(|m| m["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [second, first]);
}

#[tokio::test]
async fn a_second_program_says_that_the_database_is_in_use() {
    let Some(app) = TestApp::start_on_postgres().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(program())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path())
        .args(["--set", &format!("database.url={}", app.database().url)])
        .env_clear()
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("another server uses this database"), "{text}");
}

#[tokio::test]
async fn it_is_reached_by_tls_and_only_if_it_can_be_trusted() {
    let Some((mut database, authority)) = postgres::database_by_tls().await else { return };
    let named = database.url.replace("127.0.0.1", "localhost");
    let url = |url: &str, parameters: &str| format!("{url}?{parameters}");
    let root = |authority: &postgres::Authority| format!("sslrootcert={}", authority.certificate().display());
    let nobody = postgres::Authority::new();
    let (known, stranger) = (root(&authority), root(&nobody));
    let attempt = async |url: String| match Store::open(&Location::postgres(&url).unwrap()).await {
        Ok(store) => {
            store.close().await;
            String::new()
        }
        Err(error) => error.to_string(),
    };
    for fine in [
        database.url.clone(),
        url(&database.url, "sslmode=require"),
        url(&database.url, &format!("sslmode=verify-ca&{known}")),
        url(&named, &format!("sslmode=verify-full&{known}")),
    ] {
        assert_eq!(attempt(fine.clone()).await, "", "{fine}");
    }
    for (wrong, why) in [
        (url(&database.url, "sslmode=disable"), "no encryption"),
        (url(&named, "sslmode=verify-full"), "certificate"),
        (url(&named, &format!("sslmode=verify-ca&{stranger}")), "certificate"),
        // The right authority has signed for another name.
        (url(&database.url, &format!("sslmode=verify-full&{known}")), "certificate"),
    ] {
        let error = attempt(wrong.clone()).await;
        assert!(error.contains(why), "{wrong}: {error:?}");
    }
    let nowhere =
        Location::postgres(&url(&named, "sslmode=verify-full&sslrootcert=/no%20where")).unwrap_err();
    assert!(nowhere.to_string().contains("sslrootcert /no where: "), "{nowhere}");
    database.url = url(&named, &format!("sslmode=verify-full&{known}"));
    let app = TestApp::start_on(database).await;
    let ann = app.user("ann").await;
    ann.channel("general", &[]).await;
}

/// Stands between the store and PostgreSQL and hangs up once, after it has passed on a COMMIT and before it passes
/// on the answer. Returns its port.
async fn hang_up_after_commit(server: std::net::SocketAddr) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hung_up = Arc::new(AtomicBool::new(false));
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(server).await.unwrap();
            tokio::spawn(pass_on(client, server, Arc::clone(&hung_up)));
        }
    });
    port
}

async fn pass_on(mut client: TcpStream, mut server: TcpStream, hung_up: Arc<AtomicBool>) {
    let (mut asked, mut answered) = (vec![0; 65536], vec![0; 65536]);
    let mut prepared = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(n @ 1..) = read else { return };
                server.write_all(&asked[..n]).await.unwrap();
                if prepared && !hung_up.swap(true, Ordering::Relaxed) {
                    // This runs the statement that the last one prepared. It is done when the answer comes.
                    assert!(server.read(&mut answered).await.unwrap() > 0);
                    return;
                }
                prepared = asked[..n].windows(7).any(|bytes| bytes == b"COMMIT\0");
            }
            read = server.read(&mut answered) => {
                let Ok(n @ 1..) = read else { return };
                if client.write_all(&answered[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_commit_that_nobody_could_confirm_is_heard_of() {
    let Some(database) = postgres::database().await else { return };
    // Migrated first, so that the first COMMIT through the proxy is the writer's.
    open(&Location::postgres(&database.url).unwrap()).await.close().await;
    let (rest, name) = database.url.rsplit_once('/').unwrap();
    let address = rest.rsplit_once('@').unwrap().1.parse().unwrap();
    let url = format!("postgres://patchbay@127.0.0.1:{}/{name}", hang_up_after_commit(address).await);
    let store = open(&Location::postgres(&url).unwrap()).await;
    let mut head = store.head();
    let unsure = write(&store, |tx| {
        Box::pin(async move {
            tx.append(entry("{}"));
            tx.insert_user(&new_user("ann"), Timestamp::now()).await
        })
    })
    .await;
    assert!(matches!(unsure, Err(StoreError::Unavailable(_))), "{unsure:?}");
    tokio::time::timeout(RECOVERY, head.wait_for(|seq| *seq == 1)).await.unwrap().unwrap();
    assert!(store.read().await.unwrap().user_by_name("ann").await.unwrap().is_some());
    user(&store, "bob").await;
}

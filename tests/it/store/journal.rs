//! What is written together: operations in one batch, and the journal that they leave.

use super::*;

contract!(
    an_operation_that_fails_leaves_nothing,
    one_failure_in_a_batch_does_not_touch_the_others,
    a_failing_statement_in_a_batch_does_not_touch_the_others,
    a_panic_in_an_operation_does_not_stop_the_writer,
    a_caller_that_goes_away_does_not_cut_an_operation_in_half,
    the_journal_is_dense_under_many_writers,
    a_reader_of_the_journal_never_skips,
    the_journal_shows_what_one_may_see_now,
    scrubbing_reaches_events_of_the_same_batch,
    pruning_moves_the_floor,
);

#[tokio::test]
async fn an_error_that_ends_the_transaction_costs_its_batch_alone_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&file(dir.path())).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("test.db"));
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let poison = "CREATE TRIGGER poison BEFORE INSERT ON users WHEN NEW.username LIKE 'poison%' BEGIN
        SELECT RAISE(ROLLBACK, 'the transaction is gone'); END";
    sqlx::raw_sql(poison).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    poisoned_batches(store).await;
}

#[tokio::test]
async fn an_error_that_ends_the_transaction_costs_its_batch_alone_postgres() {
    let Some(database) = patchbay_tests::postgres::database().await else { return };
    let store = open(&Location::postgres(&database.url).unwrap()).await;
    database
        .run(
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.username LIKE 'poison%' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
                 RETURN NEW; END $$;
             CREATE TRIGGER poison BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION poison()",
        )
        .await;
    poisoned_batches(store).await;
}

/// Many write at once; some of what they write ends the transaction of everybody in the batch, or the connection.
async fn poisoned_batches(store: Store) {
    let store = Arc::new(store);
    let tasks: Vec<_> = (0..24)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0..25 {
                    let poison = (writer * 25 + n) % 41 == 7;
                    let payload = format!("{writer}.{n}");
                    let (name, kept) =
                        (format!("{}{payload}", if poison { "poison" } else { "user" }), payload.clone());
                    let written = write(&store, move |tx| {
                        Box::pin(async move {
                            tx.append(entry(payload));
                            tx.insert_user(&new_user(&name), Timestamp::now()).await
                        })
                    })
                    .await;
                    match written {
                        Ok(_) => {
                            assert!(!poison);
                            acknowledged.push(kept);
                        }
                        Err(StoreError::Unavailable(_) | StoreError::Database(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                acknowledged
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for task in tasks {
        acknowledged.extend(task.await.unwrap());
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while write(&store, |tx| {
        Box::pin(async move { tx.insert_user(&new_user("last"), Timestamp::now()).await })
    })
    .await
    .is_err()
    {
        assert!(std::time::Instant::now() < deadline, "the writer never recovered");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut conn = store.read().await.unwrap();
    let entries = conn.journal(Seq(0), 1000).await.unwrap();
    let head = conn.journal_head().await.unwrap();
    assert!(entries.iter().map(|entry| entry.seq.0).eq(1..=head.0), "no seq is skipped or repeated");
    assert_eq!(*store.head().borrow(), head.0);
    let mut written: Vec<_> = entries.into_iter().map(|entry| entry.payload).collect();
    written.sort();
    acknowledged.sort();
    assert_eq!(written, acknowledged, "what was acknowledged is there once, and nothing else");
    assert!(!acknowledged.is_empty());
    for payload in &acknowledged {
        assert!(conn.user_by_name(&format!("user{payload}")).await.unwrap().is_some(), "{payload}");
    }
}

async fn an_operation_that_fails_leaves_nothing(store: Store) {
    let failed: Result<(), StoreError> = write(&store, |tx| {
        Box::pin(async move {
            tx.insert_user(&new_user("ann"), Timestamp::now()).await?;
            tx.append(entry("{}"));
            Err(StoreError::Corrupt("on purpose".into()))
        })
    })
    .await;
    assert!(matches!(failed, Err(StoreError::Corrupt(_))));
    let mut conn = store.read().await.unwrap();
    assert_eq!(conn.user_by_name("ann").await.unwrap(), None);
    assert_eq!(conn.journal_head().await.unwrap(), Seq(0));
}

async fn one_failure_in_a_batch_does_not_touch_the_others(store: Store) {
    let store = Arc::new(store);
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                write(&store, move |tx| {
                    Box::pin(async move {
                        tx.append(entry(format!("{{\"n\":{n}}}")));
                        tx.insert_user(&new_user(&format!("user{n}")), Timestamp::now()).await?;
                        if n % 3 == 0 { Err(StoreError::Corrupt("on purpose".into())) } else { Ok(()) }
                    })
                })
                .await
                .is_ok()
            })
        })
        .collect();
    let mut succeeded = 0;
    for task in tasks {
        succeeded += i64::from(task.await.unwrap());
    }
    assert_eq!(succeeded, 133);
    let mut conn = store.read().await.unwrap();
    let page = Page { before: None, after: None, limit: 1000 };
    assert_eq!(conn.users_matching("", &page).await.unwrap().len(), 133);
    assert_eq!(conn.journal_head().await.unwrap(), Seq(133), "a failed operation leaves no hole");
}

async fn a_failing_statement_in_a_batch_does_not_touch_the_others(store: Store) {
    let store = Arc::new(store);
    user(&store, "ann").await;
    let tasks: Vec<_> = (0..300)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                write(&store, move |tx| {
                    Box::pin(async move {
                        tx.append(entry(format!("{{\"n\":{n}}}")));
                        tx.insert_user(&new_user(&format!("user{n}")), Timestamp::now()).await?;
                        let name = if n % 3 == 0 { "free" } else { "ann" };
                        let taken = tx.insert_user(&new_user(name), Timestamp::now()).await;
                        match n % 3 {
                            // One of them gets the name that is free.
                            0 | 1 => taken.map(|_| ()),
                            // An operation that goes on after an error: SQLite lets it, PostgreSQL does not.
                            _ => {
                                assert!(taken.is_err());
                                Ok(())
                            }
                        }
                    })
                })
                .await
            })
        })
        .collect();
    let mut succeeded = Vec::new();
    for (n, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(()) => succeeded.push(n),
            Err(StoreError::Unique(what)) => assert!(n % 3 != 2 && what.starts_with("users."), "{what}"),
            Err(other) => assert!(n % 3 == 2 && matches!(other, StoreError::Database(_)), "{n}: {other}"),
        }
    }
    assert_eq!(succeeded.iter().filter(|n| *n % 3 == 0).count(), 1);
    assert_eq!(succeeded.iter().filter(|n| *n % 3 == 1).count(), 0);
    let mut conn = store.read().await.unwrap();
    for n in 0..300 {
        let stored = conn.user_by_name(&format!("user{n}")).await.unwrap().is_some();
        assert_eq!(stored, succeeded.contains(&n), "{n}");
    }
    let entries = conn.journal(Seq(0), 1000).await.unwrap();
    assert_eq!(entries.len(), succeeded.len());
    assert_eq!(entries.last().unwrap().seq, conn.journal_head().await.unwrap(), "the journal is dense");
}

async fn a_panic_in_an_operation_does_not_stop_the_writer(store: Store) {
    let panicked: Result<(), StoreError> = write(&store, |tx| {
        Box::pin(async move {
            tx.insert_user(&new_user("ann"), Timestamp::now()).await?;
            panic!("on purpose")
        })
    })
    .await;
    assert!(matches!(panicked, Err(StoreError::Unavailable(_))));
    user(&store, "ann").await;
}

async fn a_caller_that_goes_away_does_not_cut_an_operation_in_half(store: Store) {
    for n in 0..20 {
        let call = write(&store, move |tx| {
            Box::pin(async move {
                tx.insert_user(&new_user(&format!("first{n}")), Timestamp::now()).await?;
                tokio::task::yield_now().await;
                tx.insert_user(&new_user(&format!("second{n}")), Timestamp::now()).await
            })
        });
        let _ = tokio::time::timeout(Duration::from_micros(50 * n), call).await;
    }
    user(&store, "last").await;
    let mut conn = store.read().await.unwrap();
    for n in 0..20 {
        let first = conn.user_by_name(&format!("first{n}")).await.unwrap().is_some();
        let second = conn.user_by_name(&format!("second{n}")).await.unwrap().is_some();
        assert_eq!(first, second, "{n}");
    }
}

async fn the_journal_is_dense_under_many_writers(store: Store) {
    let store = Arc::new(store);
    let tasks: Vec<_> = (0..20)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0..20 {
                    let payload = format!("{{\"writer\":{writer},\"n\":{n}}}");
                    write(&store, move |tx| {
                        Box::pin(async move {
                            tx.append(entry(payload));
                            Ok(())
                        })
                    })
                    .await
                    .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let entries = store.read().await.unwrap().journal(Seq(0), 1000).await.unwrap();
    let seqs: Vec<_> = entries.iter().map(|entry| entry.seq.0).collect();
    assert_eq!(seqs, (1..=400).collect::<Vec<_>>());
    for writer in 0..20 {
        let own: Vec<_> =
            entries.iter().filter(|e| e.payload.contains(&format!("\"writer\":{writer},"))).collect();
        let order: Vec<_> = (0..20).map(|n| format!("{{\"writer\":{writer},\"n\":{n}}}")).collect();
        assert!(own.iter().map(|e| &e.payload).eq(&order), "what one writes in turn stays in turn");
    }
}

async fn a_reader_of_the_journal_never_skips(store: Store) {
    let store = Arc::new(store);
    let reader = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let (mut head, mut position) = (store.head(), Seq(0));
            while position < Seq(300) {
                head.changed().await.unwrap();
                for entry in store.read().await.unwrap().journal(position, 1000).await.unwrap() {
                    assert_eq!(entry.seq.0, position.0 + 1);
                    position = entry.seq;
                }
            }
        })
    };
    let tasks: Vec<_> = (0..300)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                write(&store, move |tx| {
                    Box::pin(async move {
                        tx.append(entry(format!("{n}")));
                        Ok(())
                    })
                })
                .await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    reader.await.unwrap();
}

async fn the_journal_shows_what_one_may_see_now(store: Store) {
    let (ann, bob) = (user(&store, "ann").await, user(&store, "bob").await);
    let (secret, public) = (channel(&store, ann, false).await, channel(&store, ann, true).await);
    let of = |kind: &str, audience, channel, target| NewEntry {
        kind: kind.into(),
        audience,
        channel_id: channel,
        target_user_id: target,
        ..entry("{}")
    };
    let entries = [
        of("everyone", Audience::Everyone, None, None),
        of("secret", Audience::Channel, Some(secret), None),
        of("public", Audience::Channel, Some(public), None),
        of("public to everyone", Audience::Everyone, Some(public), None),
        of("secret to everyone", Audience::Everyone, Some(secret), None),
        of("to bob", Audience::Target, Some(secret), Some(bob)),
        of("bob removed", Audience::Channel, Some(secret), Some(bob)),
    ];
    write(&store, move |tx| {
        Box::pin(async move {
            entries.into_iter().for_each(|entry| tx.append(entry));
            Ok(())
        })
    })
    .await
    .unwrap();
    let seen = async |user_id, subscribed: Vec<ChannelId>| {
        let viewer = Viewer { user_id, subscribed };
        let mut conn = store.read().await.unwrap();
        let found = conn.journal_for(&viewer, Seq(0), Seq(i64::MAX), 100).await.unwrap();
        found.into_iter().map(|entry| entry.kind).collect::<Vec<_>>()
    };
    assert_eq!(seen(bob, vec![]).await, ["everyone", "public to everyone", "to bob", "bob removed"]);
    assert_eq!(
        seen(bob, vec![public, secret]).await,
        ["everyone", "public", "public to everyone", "to bob", "bob removed"],
        "a private channel can't be followed"
    );
    assert_eq!(
        seen(ann, vec![]).await,
        ["everyone", "secret", "public", "public to everyone", "secret to everyone", "bob removed"]
    );
    write(&store, move |tx| Box::pin(async move { tx.delete_channel(secret, Timestamp::now()).await }))
        .await
        .unwrap();
    assert_eq!(seen(ann, vec![]).await, ["everyone", "public", "public to everyone"]);
}

async fn scrubbing_reaches_events_of_the_same_batch(store: Store) {
    let ann = user(&store, "ann").await;
    let general = channel(&store, ann, true).await;
    write(&store, move |tx| {
        Box::pin(async move {
            let id = insert(tx, general, ann, "xyzzy").await?;
            tx.append(NewEntry { message_id: Some(id), ..entry("{\"content\":\"xyzzy\"}") });
            tx.delete_message(id).await?;
            tx.scrub(id, "{}".into());
            Ok(())
        })
    })
    .await
    .unwrap();
    let entries = store.read().await.unwrap().journal(Seq(0), 10).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.payload.as_str()).collect::<Vec<_>>(), ["{}"]);
}

async fn pruning_moves_the_floor(store: Store) {
    for n in 0..10 {
        let old = NewEntry { created_at: Timestamp(n), ..entry("{}") };
        write(&store, move |tx| {
            Box::pin(async move {
                tx.append(old);
                Ok(())
            })
        })
        .await
        .unwrap();
    }
    let prune = async |before, keep| {
        write(&store, move |tx| Box::pin(async move { tx.prune_journal(Timestamp(before), keep, 100).await }))
            .await
            .unwrap()
    };
    assert_eq!(prune(0, 100).await, 0);
    assert_eq!(prune(4, 100).await, 4);
    assert_eq!(prune(0, 2).await, 4);
    let mut conn = store.read().await.unwrap();
    assert_eq!(conn.journal_floor().await.unwrap(), Seq(8));
    assert_eq!(conn.journal_head().await.unwrap(), Seq(10));
    assert_eq!(conn.journal(Seq(0), 10).await.unwrap().len(), 2);
    assert_eq!(prune(i64::MAX, 100).await, 2);
    assert_eq!(conn.journal_floor().await.unwrap(), Seq(10), "an empty journal still knows where it was");
}

//! The index of words: what is written with what, what any text can ask of it, and for how long.

use patchbay_store::{Document, Index, Mark, Need, Order, PastMessage, Search};
use patchbay_words::sought;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

contract!(
    an_operation_that_fails_is_not_indexed,
    no_text_is_more_than_words_to_the_database,
    what_was_found_is_looked_at_again,
    a_search_that_takes_too_long_is_given_up,
);

fn words(text: &str) -> Need {
    Need::Words(sought(text, false).unwrap())
}

async fn found(store: &Store, viewer: UserId, need: Need) -> Vec<i64> {
    let search = Search { needs: vec![need], ..Search::of(Some(viewer), 100) };
    let found = store.read().await.unwrap().search_messages(&search, PATIENCE).await.unwrap();
    found.into_iter().map(|(id, _)| id).collect()
}

/// Posts a message and indexes it.
async fn say(tx: &mut Tx, channel: ChannelId, sender: UserId, text: &str) -> Result<MessageId, StoreError> {
    let id = insert(tx, channel, sender, text).await?;
    tx.index(Index::Messages, id.0, Document::message(text, channel, sender));
    Ok(id)
}

async fn an_operation_that_fails_is_not_indexed(store: Store) {
    let ann = user(&store, "ann").await;
    let general = channel(&store, ann, true).await;
    let operations = (0..20).map(|n| {
        write(&store, move |tx| {
            Box::pin(async move {
                let text = if n % 3 == 0 { "bad apple" } else { "good apple" };
                let id = say(tx, general, ann, text).await?;
                if n % 3 == 0 { Err(StoreError::NotEmpty) } else { Ok(id.0) }
            })
        })
    });
    let mut kept: Vec<i64> =
        futures_util::future::join_all(operations).await.into_iter().filter_map(Result::ok).collect();
    kept.sort_unstable();
    let mut seen = found(&store, ann, words("apple")).await;
    seen.sort_unstable();
    assert_eq!(seen, kept);
    assert_eq!(found(&store, ann, words("bad")).await, [] as [i64; 0]);

    // Posted, edited and deleted in one batch.
    let edited = write(&store, move |tx| {
        Box::pin(async move {
            let gone = say(tx, general, ann, "pear").await?;
            let edited = say(tx, general, ann, "pear").await?;
            tx.index(Index::Messages, edited.0, Document::message("plum", general, ann));
            tx.delete_message(gone).await?;
            Ok(edited.0)
        })
    });
    let edited = edited.await.unwrap();
    assert_eq!(found(&store, ann, words("pear")).await, [] as [i64; 0]);
    assert_eq!(found(&store, ann, words("plum")).await, [edited]);
}

async fn no_text_is_more_than_words_to_the_database(store: Store) {
    let ann = user(&store, "ann").await;
    let general = channel(&store, ann, true).await;
    write(&store, move |tx| Box::pin(async move { say(tx, general, ann, "hidden treasure").await }))
        .await
        .unwrap();
    let pieces = [
        "\"", "'", "\\", "*", "(", ")", ":", "|", "&", "!", "<->", "-", "^", "{", "}", "+", "#", "@", ",",
        ";", "--", "%", "_", "$1", "?", "NEAR", "AND", "OR", "NOT", "words:", "marks:", "any", ":any",
        ":in:1", "in", "link", ":*", "\u{301}", "東", "京", "é", "🎉", " ", "x", "\t", "\u{feff}", "NULL",
        "hid",
    ];
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..400 {
        let text: String = (0..rng.usize(1..9)).filter_map(|_| rng.choice(pieces)).collect();
        let Some(sought) = sought(&text, rng.bool()) else { continue };
        let mut search = Search {
            needs: vec![Need::Words(sought.clone())],
            rejects: if rng.bool() { vec![words("nothing"), Need::AnyOf(vec![Mark::Link])] } else { vec![] },
            order: if rng.bool() { Order::Newest } else { Order::Relevance { offset: 0 } },
            ..Search::of(Some(ann), 10)
        };
        let mut conn = store.read().await.unwrap();
        let found = conn.search_messages(&search, PATIENCE).await.unwrap();
        let expected = !patchbay_words::found_in("hidden treasure", std::slice::from_ref(&sought)).is_empty();
        assert_eq!(!found.is_empty(), expected, "{text:?}");
        std::mem::swap(&mut search.needs, &mut search.rejects);
        conn.search_messages(&search, PATIENCE).await.unwrap();
        conn.search_files(&search, PATIENCE).await.unwrap();
    }
}

/// Between the query and the answer a membership ends, a message is deleted, a channel goes.
async fn what_was_found_is_looked_at_again(store: Store) {
    let (ann, bob) = (user(&store, "ann").await, user(&store, "bob").await);
    let closed = channel(&store, ann, false).await;
    let now = Timestamp::now();
    let ids = write(&store, move |tx| {
        Box::pin(async move {
            tx.insert_members(closed, &[(bob, Role::Member)], now).await?;
            Ok([say(tx, closed, ann, "apple").await?, say(tx, closed, ann, "apple").await?])
        })
    });
    let [first, second] = ids.await.unwrap();
    let seen = async |viewer| {
        let seen =
            store.read().await.unwrap().messages_seen(Some(viewer), &[first.0, second.0]).await.unwrap();
        seen.len()
    };
    let both = found(&store, bob, words("apple")).await;
    assert_eq!((both.as_slice(), seen(bob).await), (&[second.0, first.0][..], 2));
    write(&store, move |tx| Box::pin(async move { tx.delete_message(first).await })).await.unwrap();
    assert_eq!(seen(bob).await, 1);
    write(&store, move |tx| Box::pin(async move { tx.delete_member(closed, bob).await })).await.unwrap();
    assert_eq!((seen(bob).await, seen(ann).await), (0, 1));
    write(&store, move |tx| Box::pin(async move { tx.delete_channel(closed, now).await })).await.unwrap();
    assert_eq!(seen(ann).await, 0);
    assert_eq!(found(&store, ann, words("apple")).await, [] as [i64; 0]);
}

async fn a_search_that_takes_too_long_is_given_up(store: Store) {
    let ann = user(&store, "ann").await;
    let general = channel(&store, ann, true).await;
    let past = move |n: i64| PastMessage {
        id: MessageId(n),
        channel: general,
        sender: ann,
        parent: None,
        content: format!("apple {n} {}", "pie ".repeat(40)),
        mentions: Vec::new(),
        has_attachments: false,
        created_at: Timestamp(1_700_000_000_000 + n),
        edited: None,
    };
    let messages: Vec<_> = (1..=12_000).map(past).collect();
    write(&store, move |tx| Box::pin(async move { tx.insert_past_messages(&messages).await })).await.unwrap();
    let search = Search {
        needs: vec![words("apple"), words("pie")],
        order: Order::Relevance { offset: 0 },
        ..Search::of(Some(ann), 10)
    };
    let mut conn = store.read().await.unwrap();
    for _ in 0..3 {
        let given_up = conn.search_messages(&search, Duration::from_micros(1)).await;
        assert!(matches!(given_up, Err(StoreError::TooSlow)), "{given_up:?}");
        // The connection is as good as before.
        assert_eq!(conn.search_messages(&search, PATIENCE).await.unwrap().len(), 10);
    }
    // Whoever asked has gone: what is asked next is not given up.
    for millis in 1..=5 {
        let patience = Duration::from_millis(millis + 5);
        let _ = tokio::time::timeout(Duration::from_millis(millis), conn.search_messages(&search, patience))
            .await;
        tokio::time::sleep(patience).await;
        // PostgreSQL's answer to the one before may still be on its way.
        let counted = match conn.past_extent(None, None).await {
            Err(StoreError::Unavailable(_)) => conn.past_extent(None, None).await,
            counted => counted,
        };
        assert_eq!(counted.unwrap().1, 12_000);
    }
}

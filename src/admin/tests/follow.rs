//! Questions that are answered without end.

use crate::base::{Epoch, Version};
use crate::observe::{EVENTS_MAX, EventsAsk, EventsPage};
use crate::placement::{Noted, View};

use super::*;

const FOLLOW: EventsAsk = EventsAsk { follow: true, after: Some(0), last: None };

/// A view that says nothing but why it came about, at some length.
fn bare(version: u64) -> Arc<View> {
    let (version, cause) = (Version(version), "x".repeat(160));
    let note = Noted { version, epoch: Epoch(version.0), cause, node: None };
    Arc::new(View { version, history: [Arc::new(note)].into(), ..View::default() })
}

/// The node sees versions up to `last`.
fn sees(parrot: &Parrot, versions: std::ops::RangeInclusive<u64>) {
    for version in versions {
        parrot.events.see(&bare(version), Duration::ZERO);
    }
}

fn page(answer: Result<Answer, ClientError>) -> EventsPage {
    match answer {
        Ok(Answer::Events(page)) => page,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whoever_follows_is_told_what_comes_until_either_side_ends() {
    let place = tempfile::tempdir().expect("a folder");
    let (server, parrot) = start(place.path()).await;
    sees(&parrot, 1..=3);
    let mut clients = Vec::new();
    for _ in 0..limits().follows_max {
        let mut client = Client::connect(place.path()).await.expect("it connects");
        let first = page(soon(client.ask(&Ask::Events(FOLLOW))).await);
        assert_eq!((first.events.len(), first.missed, first.more), (2, 0, false));
        clients.push(client);
    }
    let refused = ask(place.path(), &Ask::Events(FOLLOW)).await.expect_err("no place");
    assert_eq!(code(&refused), Code::Busy, "{refused}");
    // Who only asks once needs no such place.
    let once = EventsAsk { last: Some(1), ..EventsAsk::default() };
    assert_eq!(page(ask(place.path(), &Ask::Events(once)).await).events.len(), 1);
    sees(&parrot, 4..=4);
    for client in &mut clients {
        let next = page(soon(client.next()).await);
        assert_eq!((next.events.len(), next.events[0].number), (1, 3));
    }
    // One goes: its place is free a moment later.
    clients.pop();
    let freed = soon(async {
        loop {
            match ask(place.path(), &Ask::Events(FOLLOW)).await {
                Err(error) if code(&error) == Code::Busy => tokio::task::yield_now().await,
                other => return other,
            }
        }
    });
    assert_eq!(page(freed.await).events.len(), 3);
    server.stop().await;
    let error = soon(clients[0].next()).await.expect_err("the node has ended");
    assert!(matches!(error, ClientError::Ended { .. }), "{error}");
}

#[tokio::test]
async fn whoever_is_slow_is_told_how_many_it_missed() {
    let place = tempfile::tempdir().expect("a folder");
    let (_server, parrot) = start(place.path()).await;
    sees(&parrot, 1..=1);
    let mut client = Client::connect(place.path()).await.expect("it connects");
    assert!(page(soon(client.ask(&Ask::Events(FOLLOW))).await).events.is_empty());
    let total = 3 * u64::try_from(EVENTS_MAX).expect("few");
    sees(&parrot, 2..=total + 1);
    let (mut read, mut missed, mut last) = (0, 0, 0);
    while last < total {
        let page = page(soon(client.next()).await);
        (read, missed) = (read + page.events.len() as u64, missed + page.missed);
        last = page.events.last().expect("never empty").number;
    }
    assert_eq!((read, missed), (total / 3, total / 3 * 2));
}

/// Whoever takes nothing for so long loses its place, and the others do not wait for it.
#[tokio::test]
async fn whoever_follows_and_reads_nothing_is_let_go_of() {
    let place = tempfile::tempdir().expect("a folder");
    let (_server, parrot) = start(place.path()).await;
    sees(&parrot, 1..=u64::try_from(EVENTS_MAX).expect("few"));
    let mut silent = Vec::new();
    for _ in 0..limits().follows_max {
        let mut stream = connect_local(&place.path().join(SOCKET_FILE)).await.expect("it connects");
        let question = b"{\"version\":1,\"ask\":{\"events\":{\"follow\":true,\"after\":0}}}\n";
        stream.write_all(question).await.expect("it is taken");
        // It has its place from its first byte on.
        assert_eq!(soon(stream.read_u8()).await.expect("an answer begins"), b'{');
        silent.push(stream);
    }
    // Others get all of the places, one after the other.
    let mut heard = Vec::new();
    for _ in 0..limits().follows_max {
        let admitted = soon(async {
            loop {
                let mut client = Client::connect(place.path()).await.expect("it connects");
                match client.ask(&Ask::Events(FOLLOW)).await {
                    Err(error) if code(&error) == Code::Busy => tokio::task::yield_now().await,
                    other => return (client, other),
                }
            }
        });
        let (client, answer) = admitted.await;
        assert!(!page(answer).events.is_empty());
        heard.push(client);
    }
    for stream in &mut silent {
        // What had been written before comes, and then the end.
        let said = last_words(stream, b"").await;
        assert!(said.starts_with("\"version\":1,\"answer\":{\"events\""), "{said}");
        assert!(!said.contains(r#""more":false"#), "it was told all");
    }
}

#[tokio::test]
async fn a_word_of_whoever_follows_ends_the_connection() {
    let place = tempfile::tempdir().expect("a folder");
    let (_server, parrot) = start(place.path()).await;
    sees(&parrot, 1..=2);
    let mut client = Client::connect(place.path()).await.expect("it connects");
    page(soon(client.ask(&Ask::Events(FOLLOW))).await);
    let error = soon(client.ask(&Ask::Nodes)).await.expect_err("it follows");
    assert!(matches!(error, ClientError::Ended { .. }), "{error}");
}

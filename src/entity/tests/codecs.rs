//! Postcard between equal schemas, named fields between versions, and what a wrong belief costs.

use super::*;
use crate::transport::{Class, Head, Service};
use crate::wire::Codec;
use crate::wire::negotiate::Schemas;

/// The same kind in a later version: a variant in another place, and one more.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Newer;

#[derive(Debug, Serialize, Deserialize)]
enum NewerMsg {
    Twice(Reply<i64>),
    Bump,
    Get(Reply<i64>),
    Add(i64, Reply<i64>),
}

impl Entity for Newer {
    const KIND: &'static str = "counter";
    const SCHEMA: u16 = 2;
    type Msg = NewerMsg;
    type Env = ();

    async fn handle(&mut self, _: NewerMsg, _: &mut Cx<'_, Self>) -> Result<(), Failure> {
        Err(Failure::new("it is hosted nowhere"))
    }
}

/// The messages of `Counter` by other names: only postcard takes them for the same.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Renamed;

#[derive(Debug, Serialize, Deserialize)]
enum RenamedMsg {
    Increase(i64, Reply<i64>),
}

impl Entity for Renamed {
    const KIND: &'static str = "counter";
    type Msg = RenamedMsg;
    type Env = ();

    async fn handle(&mut self, _: RenamedMsg, _: &mut Cx<'_, Self>) -> Result<(), Failure> {
        Err(Failure::new("it is hosted nowhere"))
    }
}

async fn pair() -> (Station, Station) {
    let (n1, n2) = two_nodes::pair().await;
    for station in [&n1, &n2] {
        station.apply(view(1, "n2"));
    }
    (n1, n2)
}

#[tokio::test]
async fn equal_schemas_speak_postcard_and_answer_in_it() {
    let (n1, _n2) = pair().await;
    let renamed = n1.hosts.entities::<Renamed>().get("a");
    let add = || renamed.ask_within(GENEROUS, |reply| RenamedMsg::Increase(5, reply));
    let named = add().await;
    let Err(AskError::NotExecuted(NotExecuted::BadMessage(why))) = named else {
        panic!("{named:?}")
    };
    assert!(why.contains("Increase"), "{why}");
    // The link that was made for it has told what n2 knows.
    assert_eq!(n1.hosts.codec::<Counter>(&node("n2")), Codec::between(1, 1));
    assert_eq!(add().await, Ok(5));
    n1.get("a").tell(CounterMsg::Bump).expect("it is sent");
    assert_eq!(n1.get("a").ask(CounterMsg::Get).await, Ok(6));
    let failed = n1.get("a").ask(CounterMsg::Fail).await;
    assert_eq!(failed, Err(Unknown::Crashed("asked to".into()).into()));
}

#[tokio::test]
async fn versions_speak_named_fields() {
    let (n1, n2) = pair().await;
    let newer = n1.hosts.entities::<Newer>().get("a");
    assert_eq!(n1.hosts.codec::<Newer>(&node("n2")), Codec::Named);
    newer.tell(NewerMsg::Bump).expect("it is sent");
    assert_eq!(newer.ask_within(GENEROUS, |reply| NewerMsg::Add(4, reply)).await, Ok(5));
    assert_eq!(newer.ask_within(GENEROUS, NewerMsg::Get).await, Ok(5));
    let unknown = newer.ask_within(GENEROUS, NewerMsg::Twice).await;
    let Err(AskError::NotExecuted(NotExecuted::BadMessage(why))) = unknown else {
        panic!("{unknown:?}")
    };
    assert!(why.contains("Twice") && why.contains("Bump"), "{why}");
    assert_eq!(n2.hosts.counted().tells_lost, 0);
}

#[tokio::test]
async fn a_wrong_belief_costs_a_repeat_of_an_ask_and_a_tell() {
    let (n1, n2) = pair().await;
    assert_eq!(n1.get("a").ask(CounterMsg::Get).await, Ok(0));
    n1.hosts.learn_schemas(node("n2"), Schemas::of([("counter", 2)]));
    let newer = n1.hosts.entities::<Newer>().get("a");
    assert_eq!(n1.hosts.codec::<Newer>(&node("n2")), Codec::between(2, 2));
    assert_eq!(newer.ask_within(GENEROUS, |reply| NewerMsg::Add(4, reply)).await, Ok(4));
    newer.tell(NewerMsg::Bump).expect("it is sent");
    n2.counted(|counts| counts.tells_lost == 1).await;
    assert_eq!(newer.ask_within(GENEROUS, NewerMsg::Get).await, Ok(4));
}

#[tokio::test]
async fn a_node_says_which_schemas_it_knows() {
    let deps = Deps { node: "n1".into(), go: Semaphore::new(0), held: Semaphore::new(0) };
    let kinds = Kinds::new(vec![Kind::<Counter>::new(deps).into()]).expect("good kinds");
    assert_eq!(kinds.schemas(), Schemas::of([("counter", 1)]));
    let newer = Kinds::new(vec![Kind::<Newer>::new(()).into()]).expect("good kinds");
    assert_eq!(newer.schemas(), Schemas::of([("counter", 2)]));
}

/// Goal: a message that carries its reply and a reference has the bytes it always had, and they
/// are understood. Method: they are compared, and sent as they stand to a node that obeys them.
#[tokio::test]
async fn golden_bytes_of_a_message_with_a_reply_and_one_with_a_reference() {
    let (n1, n2) = pair().await;
    let reference = || n1.get("alice");
    let table: [(Codec, &[u8], &[u8]); 2] = [
        (Codec::Named, b"\x81\xa3Add\x92\x05\xc0", b"\x81\xa3Via\x92\xa5alice\xc0"),
        (Codec::between(1, 1), b"\x00\x0a", b"\x0b\x05alice"),
    ];
    for (codec, add, via) in table {
        let (reply, ..) = Reply::here(7);
        let bytes = frame::encode_message(codec, Some(7), &CounterMsg::Add(5, reply));
        assert_eq!(bytes.as_deref(), Ok(add), "{codec:?}");
        let (reply, ..) = Reply::here(7);
        let bytes = frame::encode_message(codec, Some(7), &CounterMsg::Via(reference(), reply));
        assert_eq!(bytes.as_deref(), Ok(via), "{codec:?}");

        let id = if codec == Codec::Named { "named" } else { "postcard" };
        let sent = async |msg: &[u8]| {
            let kind = "counter".to_owned();
            let address = frame::Address { kind, id: id.into(), left: Some(GENEROUS) };
            let body = frame::envelope(&address, &Bytes::copy_from_slice(msg)).expect("short");
            let shard = crate::ring::shard_of("counter", id.as_bytes(), 4);
            let (version, epoch, schema) = (Version(1), Epoch(1), codec.schema());
            let head = Head { version, shard: Some(shard), epoch, lane: 0, schema };
            let deadline = n1.hosts.now() + GENEROUS;
            let (class, service) = (Class::Message, Service::Entity);
            n1.links.ask(&node("n2"), class, service, head, body, deadline).await.expect("taken")
        };
        assert_eq!(frame::decode_answer(codec, &sent(add).await), Ok(5_i64), "{codec:?}");
        assert_eq!(frame::decode_answer(codec, &sent(via).await), Ok(true), "{codec:?}");
    }
    assert_eq!(n2.hosts.counted().tells_lost, 0);
}

//! Hostile bytes in both languages. How long refusing each takes, and how much memory, is measured
//! in `benches/src/bin/decode.rs`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use proptest::prelude::*;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::*;
use crate::wire::{WireError, from_data, from_named, to_data, to_named};

fn refused<T: Debug>(result: Result<T, WireError>) -> String {
    match result {
        Err(WireError::Garbage(why)) => why,
        other => panic!("{other:?}"),
    }
}

const DEEP: &str = "it nests too deep";
const CLAIMS: &str = "a list claims more entries than bytes are left";
const NOTHING: &str = "it is a list of values that take no bytes";

/// What a user's tree may look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf(i64),
    Text(String),
    List(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
    Boxed(Option<Box<Tree>>),
    Fields { left: Box<Tree>, right: Option<Box<Tree>> },
}

/// In `MessagePack` neither the newtype nor the option takes a byte of its own.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Endless(Option<Box<Endless>>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Lists(Vec<Lists>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nothing {}

/// Takes memory, and no byte.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Silent {
    #[serde(skip)]
    number: u8,
}

#[test]
fn one_byte_is_not_a_value_without_end() {
    assert_eq!(refused(from_named::<Endless>(b"\x01")), DEEP);
    assert_eq!(refused(from_data::<Endless>(&[1].repeat(100_000))), DEEP);
}

#[test]
fn nesting_is_bounded_in_both_languages() {
    assert_eq!(refused(from_named::<Lists>(&[0x91].repeat(100_000))), DEEP);
    assert_eq!(refused(from_data::<Lists>(&[1].repeat(100_000))), DEEP);
    // Boxed, Some, Boxed, Some, ..
    assert_eq!(refused(from_data::<Tree>(&[4, 1].repeat(50_000))), DEEP);
    // List of one List of one ..
    assert_eq!(refused(from_data::<Tree>(&[2, 1].repeat(50_000))), DEEP);
    assert_eq!(refused(from_named::<Tree>(&b"\x81\xa4List\x91".repeat(20_000))), DEEP);
    assert_eq!(refused(from_named::<IgnoredAny>(&[0x91].repeat(100_000))), DEEP);
    // In a field that nobody knows.
    let unknown = [&b"\x81\xa1x"[..], &[0x91].repeat(100_000)].concat();
    assert_eq!(refused(from_named::<Nothing>(&unknown)), DEEP);
}

#[test]
fn what_nests_up_to_the_bound_is_read_in_a_small_stack() {
    // An enum and its list each count one; the leaf is an enum too.
    let levels = usize::from(DEPTH_MAX).saturating_sub(1) / 2;
    let tree = |levels| (0..levels).fold(Tree::Leaf(7), |tree, _| Tree::List(vec![tree]));
    let read = move || {
        let (deepest, deeper) = (tree(levels), tree(levels + 1));
        let (data, named) = (to_data(&deepest).expect("data"), to_named(&deepest).expect("named"));
        assert_eq!(from_data::<Tree>(&data), Ok(deepest.clone()));
        assert_eq!(from_named::<Tree>(&named), Ok(deepest));
        assert_eq!(refused(from_data::<Tree>(&to_data(&deeper).expect("data"))), DEEP);
        assert_eq!(refused(from_named::<Tree>(&to_named(&deeper).expect("named"))), DEEP);
    };
    // A quarter of what a worker has by default, in a build without optimisation.
    let small = std::thread::Builder::new().stack_size(512 << 10);
    std::thread::scope(|scope| {
        small.spawn_scoped(scope, read).expect("a thread").join().expect("it has room");
    });
}

#[test]
fn a_length_that_the_bytes_cannot_hold_is_refused_whatever_the_entries() {
    const FULL: &[u8] = b"\xff\xff\xff\xff\x0f"; // 2^32 - 1
    let longest = [0xff; 9].iter().copied().chain([1]).collect::<Vec<u8>>(); // 2^64 - 1
    for claim in [FULL, &longest] {
        assert_eq!(refused(from_data::<Vec<()>>(claim)), CLAIMS);
        assert_eq!(refused(from_data::<Vec<Nothing>>(claim)), CLAIMS);
        assert_eq!(refused(from_data::<Vec<u64>>(claim)), CLAIMS);
        assert_eq!(refused(from_data::<HashMap<u64, u64>>(claim)), CLAIMS);
        assert_eq!(refused(from_data::<BTreeMap<u64, Silent>>(claim)), CLAIMS);
        assert!(from_data::<String>(claim).is_err());
        assert!(from_data::<bytes::Bytes>(claim).is_err());
    }
    let (list, map) = (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff");
    assert_eq!(refused(from_named::<Vec<()>>(list)), CLAIMS);
    assert_eq!(refused(from_named::<Vec<u64>>(list)), CLAIMS);
    assert_eq!(refused(from_named::<Nothing>(list)), CLAIMS);
    assert_eq!(refused(from_named::<[u64; 2]>(list)), CLAIMS);
    assert_eq!(refused(from_named::<IgnoredAny>(list)), CLAIMS);
    assert_eq!(refused(from_named::<HashMap<u64, u64>>(map)), CLAIMS);
    assert_eq!(refused(from_named::<Nothing>(map)), CLAIMS);
    for lie in [b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff"] {
        assert!(from_named::<String>(lie).is_err());
        assert!(from_named::<bytes::Bytes>(lie).is_err());
        assert!(from_named::<IgnoredAny>(lie).is_err());
    }
}

#[test]
fn entries_without_bytes_are_refused_in_postcard_alone() {
    let trailed = [&[200_u8, 1][..], &[0; 200]].concat();
    assert_eq!(refused(from_data::<(Vec<()>, [u8; 32])>(&trailed)), NOTHING);
    assert_eq!(refused(from_data::<(Vec<Nothing>, [u8; 32])>(&trailed)), NOTHING);
    assert_eq!(refused(from_data::<(HashMap<(), Silent>, [u8; 32])>(&trailed)), NOTHING);
    // A list of lists that claim what is left: without the bound some 10^10 rounds.
    let square = [&[0xff, 0xff, 0x03][..], &[0xff, 0xff, 0x01].repeat(100_000)].concat();
    assert_eq!(refused(from_data::<Vec<Vec<()>>>(&square)), NOTHING);
    assert_eq!(from_data::<Vec<()>>(b"\x00"), Ok(vec![]));
    // How many there are of these, the type says.
    assert_eq!(from_data::<((), Nothing, [(); 3])>(b""), Ok(((), Nothing {}, [(); 3])));
    let units = to_named(&vec![(); 300]).expect("encodes");
    assert_eq!(from_named::<Vec<()>>(&units), Ok(vec![(); 300]));
}

/// How much room a list asked for before its entries came.
#[derive(Debug)]
struct Room(Option<usize>);

impl<'de> Deserialize<'de> for Room {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Asked;

        impl<'de> Visitor<'de> for Asked {
            type Value = Room;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Room, A::Error> {
                let room = Room(list.size_hint());
                while list.next_element::<u8>()?.is_some() {}
                Ok(room)
            }
        }

        from.deserialize_seq(Asked)
    }
}

#[test]
fn room_is_made_for_few_entries_before_they_come() {
    for (count, room) in [(0, 0), (3, 3), (100_000, ROOM_MAX)] {
        let list = vec![1_u8; count];
        let data = from_data::<Room>(&to_data(&list).expect("encodes")).expect("a list");
        let named = from_named::<Room>(&to_named(&list).expect("encodes")).expect("a list");
        assert_eq!((data.0, named.0), (Some(room), Some(room)), "{count}");
    }
}

#[test]
fn what_an_error_quotes_is_short_and_printable() {
    let name = format!("\u{1b}[2J{}", "x".repeat(100_000));
    let bytes = to_named(&BTreeMap::from([(name, 1)])).expect("encodes");
    let why = refused(from_named::<Tree>(&bytes));
    assert!(why.contains("unknown variant") && !why.contains('\u{1b}'), "{why}");
    assert_eq!(why.chars().count(), 200);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Everything {
    tree: Tree,
    numbers: (i8, i16, i32, u8, u16, u32, u64, u128, i128),
    text: String,
    letter: char,
    flag: bool,
    bytes: bytes::Bytes,
    set: HashMap<u64, Option<String>>,
    unit: (),
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![any::<i64>().prop_map(Tree::Leaf), ".*".prop_map(Tree::Text)];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..40).prop_map(Tree::List),
            prop::collection::btree_map("[a-z]{0,3}", inner.clone(), 0..5).prop_map(Tree::Map),
            prop::option::of(inner.clone().prop_map(Box::new)).prop_map(Tree::Boxed),
            (inner.clone(), prop::option::of(inner)).prop_map(|(left, right)| Tree::Fields {
                left: Box::new(left),
                right: right.map(Box::new),
            }),
        ]
    })
}

prop_compose! {
    fn everything()(
        tree in trees(),
        numbers in any::<(i8, i16, i32, u8, u16, u32, u64, u128, i128)>(),
        (text, letter, flag) in any::<(String, char, bool)>(),
        bytes in any::<Vec<u8>>(),
        set in any::<HashMap<u64, Option<String>>>(),
    ) -> Everything {
        Everything { tree, numbers, text, letter, flag, bytes: bytes.into(), set, unit: () }
    }
}

/// Whether the bounds change what is read: they may refuse more, and read nothing else.
fn reads_alike<T: DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = from_data::<T>(bytes) {
        assert_eq!(postcard::from_bytes::<T>(bytes), Ok(value));
    }
    if let Ok(value) = from_named::<T>(bytes) {
        assert_eq!(rmp_serde::from_slice::<T>(bytes).expect("read without bounds"), value);
    }
}

proptest! {
    #[test]
    fn values_survive_both_languages(value in everything()) {
        prop_assert_eq!(from_data(&to_data(&value).expect("data")), Ok(value.clone()));
        prop_assert_eq!(from_named(&to_named(&value).expect("named")), Ok(value));
    }

    #[test]
    fn spoilt_bytes_are_read_as_without_bounds_or_refused(
        value in everything(), at: prop::sample::Index, to: u8, cut: prop::sample::Index,
    ) {
        for bytes in [to_data(&value).expect("data"), to_named(&value).expect("named")] {
            let mut bytes = bytes.to_vec();
            let place = at.index(bytes.len());
            bytes[place] = to;
            reads_alike::<Everything>(&bytes);
            bytes.truncate(cut.index(bytes.len() + 1));
            reads_alike::<Everything>(&bytes);
        }
    }

    #[test]
    fn any_bytes_are_read_as_without_bounds_or_refused(bytes: Vec<u8>) {
        reads_alike::<Tree>(&bytes);
    }
}

//! What the bounds on decoding cost, and what they save: ordinary messages beside the bare decoders,
//! and how long refusing hostile bytes takes and how much memory it needs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use evertree::wire::{from_data, from_named, to_data, to_named};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, with the most that was allocated at one time.
struct Peak;

#[global_allocator]
static ALLOCATOR: Peak = Peak;

#[expect(unsafe_code, reason = "an allocator is unsafe; this one passes everything on")]
// SAFETY: all calls are passed on to the system's allocator as they came.
unsafe impl GlobalAlloc for Peak {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(block, layout) }
    }
}

/// What a program sends often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Message {
    Add { item: String, count: u32, price: u64 },
    List(Option<u64>),
    Many(Vec<Line>),
    Numbers(Vec<u64>),
    Named(HashMap<String, u64>),
    Bytes(bytes::Bytes),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    item: String,
    count: u32,
    note: Option<String>,
}

/// Without an end in `MessagePack`, and as deep as its bytes say in postcard.
#[derive(Debug, Serialize, Deserialize)]
struct Endless(Option<Box<Endless>>);

#[derive(Debug, Serialize, Deserialize)]
struct Lists(Vec<Lists>);

/// An entry that is large where it is made room for.
#[derive(Debug, Serialize, Deserialize)]
struct Wide([[u64; 32]; 4]);

fn ordinary() -> Vec<(&'static str, Message)> {
    let line = |count| Line { item: "a pound of tea".into(), count, note: None };
    let names = (0..100).map(|index| (format!("name {index}"), index)).collect();
    vec![
        ("three fields", Message::Add { item: "tea".into(), count: 3, price: 1_299 }),
        ("an option", Message::List(Some(70_000))),
        ("10 structs", Message::Many((0..10).map(line).collect())),
        ("1,000 structs", Message::Many((0..1_000).map(line).collect())),
        ("10 numbers", Message::Numbers((0..10).map(|n| n * 1_000).collect())),
        ("10,000 numbers", Message::Numbers((0..10_000).map(|n| n * 1_000).collect())),
        ("a map of 100", Message::Named(names)),
        ("64 bytes", Message::Bytes(vec![7; 64].into())),
        ("64 KiB of bytes", Message::Bytes(vec![7; 64 << 10].into())),
    ]
}

/// Nanoseconds of one call, the best of many rounds: other programs only make it longer.
fn best(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    call();
    let once = start.elapsed().max(Duration::from_nanos(20));
    let calls = (Duration::from_millis(2).as_nanos() / once.as_nanos()).clamp(1, 100_000);
    let round = |_| {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed().as_nanos() as f64 / calls as f64
    };
    (0..50).map(round).fold(f64::INFINITY, f64::min)
}

/// Two calls in turn, best of each.
fn beside(mut one: impl FnMut(), mut other: impl FnMut()) -> (f64, f64) {
    (0..5).fold((f64::INFINITY, f64::INFINITY), |(best_one, best_other), _| {
        (best_one.min(best(&mut one)), best_other.min(best(&mut other)))
    })
}

fn costs() {
    println!(
        "{:<18} {:>30} {:>30}",
        "", "postcard: bounded, bare, ratio", "named: bounded, bare, ratio"
    );
    for (name, message) in ordinary() {
        let data = to_data(&message).expect("it encodes");
        let named = to_named(&message).expect("it encodes");
        assert_eq!(from_data::<Message>(&data).as_ref(), Ok(&message));
        assert_eq!(from_named::<Message>(&named).as_ref(), Ok(&message));
        let (short, bare_short) = beside(
            || drop(black_box(from_data::<Message>(black_box(&data)))),
            || drop(black_box(postcard::from_bytes::<Message>(black_box(&data)))),
        );
        let (long, bare_long) = beside(
            || drop(black_box(from_named::<Message>(black_box(&named)))),
            || drop(black_box(rmp_serde::from_slice::<Message>(black_box(&named)))),
        );
        println!(
            "{name:<18} {short:>12.0} {bare_short:>10.0} {:>6.2} {long:>13.0} {bare_long:>10.0} {:>6.2}",
            short / bare_short,
            long / bare_long
        );
    }
}

type Decode = fn(&[u8]) -> bool;

fn data<T: DeserializeOwned>(bytes: &[u8]) -> bool {
    from_data::<T>(bytes).is_err()
}

fn named<T: DeserializeOwned>(bytes: &[u8]) -> bool {
    from_named::<T>(bytes).is_err()
}

fn hostile() -> Vec<(&'static str, Vec<u8>, Decode)> {
    const FRAME: usize = 2 << 20;
    let full = |bytes: &[u8]| bytes.repeat(FRAME / bytes.len());
    let claim = b"\xff\xff\xff\xff\x0f".to_vec();
    let list = b"\xdd\xff\xff\xff\xff".to_vec();
    let map = b"\xdf\xff\xff\xff\xff".to_vec();
    // As many entries as bytes follow, so that the length alone is no lie.
    let half = |entry: u8| [&[0xff, 0xff, 0x3f][..], &vec![entry; FRAME / 2]].concat();
    let named_half = |entry: u8| [&b"\xdd\x00\x0f\xff\xff"[..], &vec![entry; FRAME / 2]].concat();
    vec![
        ("postcard: 2^32 units", claim.clone(), data::<Vec<()>>),
        ("postcard: 2^32 numbers", claim.clone(), data::<Vec<u64>>),
        ("postcard: 2^32 entries of a map", claim.clone(), data::<HashMap<u64, u64>>),
        ("postcard: text of 4 GiB", claim.clone(), data::<String>),
        ("postcard: bytes of 4 GiB", claim, data::<bytes::Bytes>),
        ("postcard: a million units, as many bytes", half(0), data::<(Vec<()>, [u8; 32])>),
        (
            "postcard: lists of units in lists, 2 MiB",
            [&[0xff, 0xff, 0x03][..], &full(&[0xff, 0xff, 0x01])].concat(),
            data::<Vec<Vec<()>>>,
        ),
        ("postcard: a million wide entries claimed", half(0xff), data::<Vec<Wide>>),
        ("postcard: boxes in boxes, 2 MiB", full(&[1]), data::<Endless>),
        ("postcard: lists in lists, 2 MiB", full(&[0xff, 0xff, 0x01]), data::<Lists>),
        ("named: 2^32 units", list.clone(), named::<Vec<()>>),
        ("named: 2^32 numbers", list, named::<Vec<u64>>),
        ("named: 2^32 entries of a map", map, named::<HashMap<u64, u64>>),
        ("named: text of 4 GiB", b"\xdb\xff\xff\xff\xff".to_vec(), named::<String>),
        ("named: bytes of 4 GiB", b"\xc6\xff\xff\xff\xff".to_vec(), named::<bytes::Bytes>),
        ("named: a million wide entries claimed", named_half(0xc0), named::<Vec<Wide>>),
        ("named: a box without end in one byte", vec![1], named::<Endless>),
        ("named: lists in lists, 2 MiB", full(b"\xdd\x00\x0f\xff\xff"), named::<Lists>),
        (
            "named: an unknown variant of 1 MiB",
            [&b"\x81\xdb\x00\x10\x00\x00"[..], &vec![b'x'; 1 << 20], b"\x01"].concat(),
            named::<Message>,
        ),
    ]
}

fn refusals() {
    println!("\n{:<44} {:>12} {:>14}", "hostile bytes", "us to refuse", "bytes at peak");
    for (name, bytes, refuses) in hostile() {
        let before = LIVE.load(Relaxed);
        PEAK.store(before, Relaxed);
        assert!(refuses(&bytes), "{name} is taken");
        let peak = PEAK.load(Relaxed) - before;
        let took = best(|| assert!(refuses(black_box(&bytes)))) / 1_000.0;
        println!("{name:<44} {took:>12.2} {peak:>14}");
    }
}

fn main() {
    costs();
    refusals();
}

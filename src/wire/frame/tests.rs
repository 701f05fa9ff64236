use proptest::prelude::*;

use super::*;

const BODY_MAX: usize = 1024;

fn full() -> Header {
    Header {
        kind: Kind::Ask,
        service: 6,
        lane: 5,
        part: Part::More,
        schema: 0x0102,
        shard: Some(ShardId(0x0a0b)),
        call: 0x1122_3344_5566_7788,
        version: Version(7),
        epoch: Epoch(0x0001_0000_0000_0002),
        trace: Some(Trace { trace_id: 0x0fed, span_id: 0x0abc, flags: 1 }),
    }
}

fn bytes_of(header: &Header, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    encode(header, body, &mut out);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Whoever changes these breaks running clusters: raise the protocol number instead.
#[test]
fn golden_bytes_of_frames() {
    let asked = Header {
        service: 6,
        lane: 5,
        schema: 0x0102,
        shard: Some(ShardId(0x0a0b)),
        version: Version(7),
        epoch: Epoch(0x0001_0000_0000_0002),
        ..Header::of(Kind::Ask, 0x1122_3344_5566_7788)
    };
    // Its two totals: bytes in the place of the call, tells in that of the version.
    let credit = Header { lane: 5, version: Version(3), ..Header::of(Kind::Credit, 0x0001_0203) };
    let last = Header { part: Part::Last, ..full() };
    let nothing = "0000 0000 0000000000000000 0000000000000000 0000000000000000";
    let call_9 = "0000 0000 0000000000000009 0000000000000000 0000000000000000";
    let set = "0102 0a0b 1122334455667788 0000000000000007 0001000000000002";
    let trace = "00000000000000000000000000000fed 0000000000000abc 01";
    let totals = "0000 0000 0000000000010203 0000000000000003 0000000000000000";
    let table: [(Header, &[u8], String); 12] = [
        (Header { kind: Kind::Tell, call: 0, ..asked }, b"hi", {
            let set = set.replace("1122334455667788", "0000000000000000");
            format!("00000022 01 06 01 05 {set} 6869")
        }),
        (asked, b"hi", format!("00000022 02 06 01 05 {set} 6869")),
        (Header::of(Kind::Reply, 9), b"hi", format!("00000022 03 00 00 00 {call_9} 6869")),
        (Header::of(Kind::Refusal, 9), b"no", format!("00000022 04 00 00 00 {call_9} 6e6f")),
        (Header::of(Kind::Dropped, 9), b"", format!("00000020 05 00 00 00 {call_9}")),
        (Header::of(Kind::Ping, 0), b"", format!("00000020 06 00 00 00 {nothing}")),
        (Header::of(Kind::Pong, 0), b"", format!("00000020 07 00 00 00 {nothing}")),
        (Header::of(Kind::Void, 0), b"hi", format!("00000022 08 00 00 00 {nothing} 6869")),
        (credit, b"", format!("00000020 09 00 00 05 {totals}")),
        (Header::of(Kind::Bye, 0), b"", format!("00000020 0a 00 00 00 {nothing}")),
        (full(), b"hi", format!("0000003b 02 06 0f 05 {set} {trace} 6869")),
        (last, b"hi", format!("0000003b 02 06 0b 05 {set} {trace} 6869")),
    ];
    for (header, body, golden) in &table {
        let mut bytes = bytes_of(header, body);
        assert_eq!(hex(&bytes), golden.replace(' ', ""), "{header:?}");
        let read = Splitter::new(BODY_MAX).next(&mut bytes).expect("well formed");
        let body = Bytes::copy_from_slice(body);
        assert_eq!(read, Some(Frame { header: *header, body }));
    }
    let kinds: Vec<u8> = table[..10].iter().map(|(header, ..)| header.kind as u8).collect();
    let known: Vec<u8> = (0..=u8::MAX).filter(|kind| Kind::from_wire(*kind).is_some()).collect();
    assert_eq!(kinds, known, "one of each kind");
}

#[test]
fn malformed_frames_are_refused_without_waiting_for_the_rest() {
    let good = bytes_of(&full(), b"hi");
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let table: Vec<(&str, BytesMut, WireError)> = vec![
        (
            "a length above the maximum",
            BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]),
            WireError::TooLong { bytes: 0xffff_ffff, bytes_max: BODY_MAX + 57 },
        ),
        (
            "a body one byte too long",
            bytes_of(&Header::of(Kind::Tell, 0), &[0; BODY_MAX + 26])[..4].into(),
            WireError::TooLong { bytes: BODY_MAX + 58, bytes_max: BODY_MAX + 57 },
        ),
        ("a length below the header", BytesMut::from(&[0, 0, 0, 31][..]), WireError::TooShort(31)),
        ("an unknown kind", with(4, 99), WireError::Kind(99)),
        ("kind zero", with(4, 0), WireError::Kind(0)),
        (
            "unknown flags",
            with(6, 0x80),
            WireError::Garbage("flags 0x80 are not known here".into()),
        ),
        (
            "more parts of what is no part",
            with(6, 4),
            WireError::Garbage("flags 0x4 are not known here".into()),
        ),
        (
            "a trace context flagged but not there",
            {
                let mut bytes = bytes_of(&Header::of(Kind::Tell, 0), b"short");
                bytes[6] = 2;
                bytes
            },
            WireError::TooShort(37),
        ),
    ];
    for (what, mut input, error) in table {
        assert_eq!(Splitter::new(BODY_MAX).next(&mut input), Err(error), "{what}");
    }
}

#[test]
fn a_truncated_frame_waits_and_takes_nothing() {
    let whole = bytes_of(&full(), b"hi");
    for cut in 0..whole.len() {
        let mut input = BytesMut::from(&whole[..cut]);
        assert_eq!(Splitter::new(BODY_MAX).next(&mut input), Ok(None), "cut at {cut}");
        assert_eq!(input.len(), cut);
    }
}

#[test]
fn a_voided_frame_is_of_kind_void_and_the_next_is_whole() {
    let mut out = bytes_of(&full(), b"taken back");
    encode(&Header::of(Kind::Ping, 3), b"", &mut out);
    assert!(void(&mut out, 0));
    assert!(!void(&mut out, usize::MAX));
    let splitter = Splitter::new(BODY_MAX);
    let first = splitter.next(&mut out).expect("well formed").expect("whole");
    assert_eq!(first.header.kind, Kind::Void);
    let second = splitter.next(&mut out).expect("well formed").expect("whole");
    assert_eq!(second.header, Header::of(Kind::Ping, 3));
}

fn any_header() -> impl Strategy<Value = Header> {
    let trace = proptest::option::of(any::<(u128, u64, u8)>());
    let fixed = (1u8..=10, any::<(u8, u8, u16)>(), 0..3_usize, proptest::option::of(any::<u16>()));
    (fixed, any::<(u64, u64, u64)>(), trace).prop_map(
        |((kind, (service, lane, schema), part, shard), (call, version, epoch), trace)| Header {
            kind: Kind::from_wire(kind).expect("1 to 10 are kinds"),
            service,
            lane,
            part: [Part::Whole, Part::More, Part::Last][part],
            schema,
            shard: shard.map(ShardId),
            call,
            version: Version(version),
            epoch: Epoch(epoch),
            trace: trace.map(|(trace_id, span_id, flags)| Trace { trace_id, span_id, flags }),
        },
    )
}

proptest! {
    #[test]
    fn frames_survive_any_cutting(
        frames in proptest::collection::vec(
            (any_header(), proptest::collection::vec(any::<u8>(), 0..100)), 1..8),
        piece in 1usize..64,
    ) {
        let mut wire = BytesMut::new();
        for (header, body) in &frames {
            encode(header, body, &mut wire);
        }
        let (mut input, mut got) = (BytesMut::new(), Vec::new());
        for chunk in wire.chunks(piece) {
            input.extend_from_slice(chunk);
            while let Some(frame) = Splitter::new(BODY_MAX).next(&mut input).expect("well formed") {
                got.push((frame.header, frame.body.to_vec()));
            }
        }
        prop_assert!(input.is_empty());
        prop_assert_eq!(got, frames);
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut input = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = Splitter::new(BODY_MAX).next(&mut input) {}
    }
}

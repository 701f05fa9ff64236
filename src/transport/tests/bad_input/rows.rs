//! The table: what bad peers do, and what is said of it.

use super::{Answer, Attack, Case};
use crate::base::{Boot, ClusterId, NodeId, ShardId};
use crate::transport::certs::Authority;
use crate::transport::tests::{CLUSTER, node, unchecked};
use crate::transport::{Class, Security};
use crate::wire::hello::{Greeting, Hello, Refuse, Welcome};
use crate::wire::negotiate::Schemas;
use crate::wire::{self, Header, Kind, Part};

const ONE_AUTHORITY: &str = "need certificates of one authority";
const IN_HANDSHAKE: &str = "the other side closed the connection in the handshake";

pub(super) fn all(good: &Authority) -> Vec<Case> {
    let mut all = certificates(good);
    all.extend(strangers());
    all.extend(greetings());
    all.extend(frames());
    all.extend(answers());
    all.extend(answers_behind_a_welcome());
    all.push(Case {
        what: "is dialled, and speaks TLS 1.2",
        attack: Attack::Greets(server_hello()),
        says: "",
        hears: "",
        dials: "speaks another TLS than 1.3",
    });
    all.push(Case {
        what: "a record of TLS that is repeated",
        attack: Attack::Repeat,
        says: "cannot decrypt",
        hears: "",
        dials: "",
    });
    all
}

/// A certificate that no authority signed.
fn self_signed(uri: &str) -> (String, String) {
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names.push(rcgen::SanType::URI(uri.try_into().expect("a URI")));
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("randomness");
    let cert = params.self_signed(&key).expect("good fields");
    (cert.pem(), key.serialize_pem())
}

fn certificates(good: &Authority) -> Vec<Case> {
    let other = Authority::new("test").expect("a good name");
    let of_other = other.issue(&["spiffe://test/node/bad"], 4096).expect("a good name");
    let of_authority = good.issue_authority("spiffe://test/node/bad").expect("a good name");
    let not_yet = good.issue_between(&["spiffe://test/node/bad"], [4000, 4096]).expect("names");
    let with = |uris: &[&str], year| unchecked(good, &good.issue(uris, year).expect("good names"));
    let same = |what, security, says| row(what, security, [says; 3]);
    vec![
        // Trusts the good authority, but shows the certificate of another one.
        same("wrong authority", unchecked(good, &of_other), ONE_AUTHORITY),
        same("self-signed", unchecked(good, &self_signed("spiffe://test/node/bad")), ONE_AUTHORITY),
        same(
            "wrong cluster",
            with(&["spiffe://prod/node/bad"], 4096),
            "use certificates of one cluster",
        ),
        same("wrong role", with(&["spiffe://test/client/bad"], 4096), "only nodes speak here"),
        same(
            "two names",
            with(&["spiffe://test/node/bad", "spiffe://test/node/a"], 4096),
            "it carries 2 URI names, and must carry exactly one",
        ),
        same("no name", with(&[], 4096), "it carries 0 URI names, and must carry exactly one"),
        row(
            "wrong name",
            with(&["spiffe://test/node/worse"], 4096),
            [
                "give bad its own certificate",
                "it claims to be bad, but its certificate is for worse",
                "it is for worse, and the node meant is bad",
            ],
        ),
        row(
            "expired",
            with(&["spiffe://test/node/bad"], 2020),
            [
                "the other side's certificate has expired: renew it",
                "this node's certificate has expired: renew it",
                "the other side's certificate has expired: renew it",
            ],
        ),
        row(
            "not valid yet",
            unchecked(good, &not_yet),
            [
                "the other side's certificate is not valid yet: correct this node's clock",
                "or that it is not valid yet: correct the clock that is wrong",
                "the other side's certificate is not valid yet: correct this node's clock",
            ],
        ),
        row(
            "an authority's certificate",
            unchecked(good, &of_authority),
            [
                "the other side's certificate is not accepted",
                "the other side refused this node's certificate",
                "the other side's certificate is not accepted",
            ],
        ),
    ]
}

fn row(what: &'static str, security: Security, says: [&'static str; 3]) -> Case {
    let [says, hears, dials] = says;
    Case { what, attack: Attack::Node { claims: "bad", security }, says, hears, dials }
}

/// Those who do not even come to speak TLS.
fn strangers() -> Vec<Case> {
    let no_tls = "does not speak TLS";
    let closed = "the other side closed the connection";
    let [hello, old_hello] = [client_hello([0x13, 0x01]), client_hello([0xc0, 0x2b])];
    let half = hello[..hello.len() / 2].to_vec();
    [
        ("garbage", vec![0x5a; 4096], no_tls),
        ("a web browser", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), no_tls),
        ("an insecure node", Greeting::Hello(hello_of_e()).encode().to_vec(), no_tls),
        ("half a handshake", half, closed),
        ("nothing", Vec::new(), closed),
        ("TLS 1.2 only", old_hello, "speaks another TLS than 1.3"),
    ]
    .map(|(what, bytes, says)| of(what, Attack::Bytes(bytes), says, ""))
    .into()
}

/// What a client of TLS 1.2 says first: no extension tells of a newer version.
fn client_hello(cipher_suite: [u8; 2]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2]);
    body.extend(cipher_suite);
    body.extend([1, 0]);
    // Groups: x25519. Point formats: uncompressed. Signatures: Ed25519 and ECDSA.
    let extensions = b"\x00\x0a\x00\x04\x00\x02\x00\x1d\x00\x0b\x00\x02\x01\x00\
                       \x00\x0d\x00\x06\x00\x04\x08\x07\x04\x03";
    body.extend([0, u8::try_from(extensions.len()).expect("few")]);
    body.extend(extensions);
    tls_record(1, &body)
}

/// What a server of TLS 1.2 answers: no extension tells of a newer version.
fn server_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    // No session; ECDHE with ECDSA and AES-128-GCM; no compression.
    body.extend([0, 0xc0, 0x2b, 0]);
    tls_record(2, &body)
}

/// A message of the handshake, in a record.
fn tls_record(message: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).expect("short");
    let mut record = vec![22, 3, 1, 0, length + 4, message, 0, 0, length];
    record.extend(body);
    record
}

fn of(what: &'static str, attack: Attack, says: &'static str, hears: &'static str) -> Case {
    Case { what, attack, says, hears, dials: "" }
}

fn hello_of_e() -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        cluster_name: "test".into(),
        cluster: CLUSTER,
        node: node("e"),
        boot: Boot(1),
        to: Some(node("a")),
        class: Class::Message as u8,
        nonce: 9,
        schemas: Schemas::default(),
        token: 0,
    }
}

fn hello_bytes(change: impl FnOnce(&mut Hello)) -> Vec<u8> {
    let mut hello = hello_of_e();
    change(&mut hello);
    Greeting::Hello(hello).encode().to_vec()
}

/// Those who have a certificate, and greet badly.
fn greetings() -> Vec<Case> {
    let whole = hello_bytes(|_| {});
    let told = |what, words, says| of(what, Attack::Speech(words), says, says);
    let worse: NodeId = node("worse");
    let welcome = Welcome {
        protocol: 1,
        cluster: CLUSTER,
        node: node("e"),
        boot: Boot(1),
        nonce: 9,
        schemas: Schemas::default(),
        token: 0,
    };
    let refuse = Refuse { reason: "\u{1b}[2J\nroot \u{202e}nigol".into() };
    let refuse = Greeting::Refuse(refuse).encode().to_vec();
    let name = b"\xa4node\xa1e";
    let at = whole.windows(name.len()).position(|bytes| bytes == name).expect("its name");
    let mut steering = whole.clone();
    steering[at + name.len() - 1] = 0x1b;
    vec![
        of("half a greeting", Attack::Cut(whole[..20].to_vec()), IN_HANDSHAKE, ""),
        told("an oversize greeting", b"evtr\x01\xff\xff".into(), "claims 65535 bytes, at most"),
        told("no greeting", b"GET / HTTP/1.1\r\n\r\n".into(), "does not speak this protocol"),
        // Its body is not waited for.
        told("an unknown greeting", b"evtr\x09\x00\x01".into(), "9 is not a kind of frame"),
        told(
            "a greeting of garbage",
            b"evtr\x01\x00\x04\x01\x81\xa1a".into(),
            "bytes do not decode",
        ),
        told("a name that steers terminals", steering, "bytes do not decode"),
        told("a welcome", Greeting::Welcome(welcome).encode().into(), "began with a welcome"),
        // It ends what it refuses: there is nothing to say to it.
        of("a refusal", Attack::Speech(refuse), r"refused: \u{1b}[2J\nroot \u{202e}nigol", ""),
        told(
            "a protocol to come",
            hello_bytes(|hello| (hello.protocol_min, hello.protocol_max) = (2, 3)),
            "it speaks protocols 2 to 3, and a speaks 1",
        ),
        told("an unknown class", hello_bytes(|hello| hello.class = 9), "9 is no class"),
        told(
            "the name of another",
            hello_bytes(|hello| hello.node = worse.clone()),
            "it claims to be worse, but its certificate is for e",
        ),
        told(
            "a greeting for another",
            hello_bytes(|hello| hello.to = Some(worse)),
            "this is a, not worse",
        ),
        told(
            "another cluster's name",
            hello_bytes(|hello| hello.cluster_name = "prod\u{7}".into()),
            "it belongs to cluster \"prod\\u{7}\"",
        ),
        told(
            "a cluster's name without an end",
            hello_bytes(|hello| hello.cluster_name = "\u{202e}".repeat(5_000)),
            r#"it belongs to cluster "\u{202e}\u{202e}"#,
        ),
        told(
            "another cluster's data",
            hello_bytes(|hello| hello.cluster = ClusterId([8; 32])),
            "its data belongs to cluster 0808",
        ),
    ]
}

fn frame(header: &Header, body: &[u8]) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    wire::encode(header, body, &mut out);
    out.to_vec()
}

/// Those who are let in, and break the protocol then.
fn frames() -> Vec<Case> {
    let tell = Header { service: 7, ..Header::of(Kind::Tell, 0) };
    let whole = frame(&tell, b"a tell that is never whole");
    let claim = u32::try_from(Class::Message.body_bytes_max() + 58).expect("below 4 GiB");
    let mut unknown_kind = frame(&tell, b"");
    unknown_kind[4] = 99;
    let mut unknown_flags = frame(&tell, b"");
    unknown_flags[6] = 0x80;
    let part = |call| {
        let part = Part::More;
        frame(
            &Header { service: 7, part, shard: Some(ShardId(1)), ..Header::of(Kind::Ask, call) },
            b"x",
        )
    };
    let after_hello = |words: &[u8]| [hello_bytes(|_| {}), words.to_vec()].concat();
    let said = |what, words: &[u8], says| of(what, Attack::Speech(after_hello(words)), says, "");
    vec![
        said("an oversize frame", &claim.to_be_bytes(), "at most 2097209 are allowed"),
        said("a frame too short", &[0, 0, 0, 1], "a frame claims 1 bytes, too few"),
        said("an unknown kind", &unknown_kind, "99 is not a kind of frame"),
        said("unknown flags", &unknown_flags, "flags 0x80 are not known here"),
        said("no such lane", &frame(&Header { lane: 16, ..tell }, b""), "there is no lane 16"),
        said("an answer to nothing", &frame(&Header::of(Kind::Reply, 1), b""), "Reply on a"),
        said("a credit", &frame(&Header::of(Kind::Credit, 1), b""), "Credit on a"),
        said("mixed parts", &[part(1), part(2)].concat(), "parts of two messages are mixed"),
        said("the hello, replayed", &hello_bytes(|_| {}), "a frame claims 1702261874 bytes"),
        of(
            "a truncated frame",
            Attack::Cut(after_hello(&whole[..whole.len() - 1])),
            "the other side closed it in the middle of a frame",
            "",
        ),
        of(
            "a truncated header",
            Attack::Cut(after_hello(&whole[..9])),
            "the other side closed it in the middle of a frame",
            "",
        ),
    ]
}

fn welcome_to(hello: &Hello) -> Welcome {
    Welcome {
        protocol: 1,
        cluster: CLUSTER,
        node: node("e"),
        boot: Boot(1),
        nonce: hello.nonce,
        schemas: Schemas::default(),
        token: 0,
    }
}

fn welcome_bytes(hello: &Hello, change: impl FnOnce(&mut Welcome)) -> Vec<u8> {
    let mut welcome = welcome_to(hello);
    change(&mut welcome);
    Greeting::Welcome(welcome).encode().to_vec()
}

/// Those who are dialled, and answer badly.
fn answers() -> Vec<Case> {
    let another = "the other side answered another handshake than this one";
    let table: [(&'static str, Answer, &'static str); 9] = [
        ("a welcome, replayed", |it| welcome_bytes(&it, |it| it.nonce ^= 1), another),
        ("a protocol not offered", |it| welcome_bytes(&it, |it| it.protocol = 2), another),
        (
            "the welcome of another",
            |it| welcome_bytes(&it, |it| it.node = node("c")),
            "it claims to be c, but its certificate is for e",
        ),
        (
            "a welcome with other data",
            |it| welcome_bytes(&it, |it| it.cluster = ClusterId([8; 32])),
            "its data belongs to cluster 0808",
        ),
        ("half a welcome", |it| welcome_bytes(&it, |_| {})[..20].to_vec(), IN_HANDSHAKE),
        ("the hello, sent back", |it| Greeting::Hello(it).encode().to_vec(), "with a hello"),
        ("an oversize welcome", |_| b"evtr\x02\xff\xff".to_vec(), "a frame claims 65535 bytes"),
        ("no protocol of ours", |_| b"220 mail\r\n".to_vec(), "does not speak this protocol"),
        (
            "a refusal that steers terminals",
            |_| Greeting::Refuse(Refuse { reason: "no\r\n\u{1b}[31mred".into() }).encode().to_vec(),
            r"refused: no\r\n\u{1b}[31mred",
        ),
    ];
    let refused = table.map(|(what, answer, dials)| {
        let attack = Attack::Answer(answer);
        Case { what, attack, says: "", hears: "", dials }
    });
    refused.into()
}

/// Those who are dialled, welcome the dialler, and then say what only it may say, or nobody.
fn answers_behind_a_welcome() -> Vec<Case> {
    let table: [(&'static str, Answer, &'static str); 2] = [
        (
            "a tell from whom was dialled",
            |it| {
                let tell = Header { service: 7, ..Header::of(Kind::Tell, 0) };
                [welcome_bytes(&it, |_| {}), frame(&tell, b"x")].concat()
            },
            "Tell on a Dialled connection",
        ),
        (
            "a credit for more than was sent",
            |it| {
                let credit = Header::of(Kind::Credit, 1 << 40);
                [welcome_bytes(&it, |_| {}), frame(&credit, b"")].concat()
            },
            "which cannot be",
        ),
    ];
    let broke = table.map(|(what, answer, says)| {
        let attack = Attack::Answer(answer);
        Case { what, attack, says, hears: "", dials: says }
    });
    broke.into()
}

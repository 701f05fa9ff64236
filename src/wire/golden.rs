//! Kept bytes of messages: a file per module says what each message is, and how it is written.
//! `EVERTREE_BLESS=1` writes the files anew, and the seeds of the fuzz targets with them; the
//! difference is to be read: what changed there, older nodes and older disks do not understand.

use std::fmt::{Debug, Write as _};
use std::fs;
use std::path::PathBuf;

use bytes::BytesMut;

use super::hello::{Greeting, Hello, Refuse, Welcome};
use super::negotiate::Schemas;
use super::{Header, Kind, encode, next_part};
use crate::base::{Boot, ClusterId, Epoch, ShardId, Version};

/// The messages of one file, to be compared.
pub(crate) struct Golden {
    file: &'static str,
    text: String,
    seeds: Vec<(PathBuf, Vec<u8>)>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

impl Golden {
    /// `file` is a path below `src`.
    pub(crate) fn new(file: &'static str) -> Self {
        let text = "# Each message: its name, what it is, its bytes.\n".into();
        Self { file, text, seeds: Vec::new() }
    }

    /// One message, which `read` must read back from `bytes`; also a seed of the fuzz target
    /// `seeds`, if there is one.
    #[track_caller]
    pub(crate) fn add<T: Debug>(
        &mut self,
        (seeds, name): (&str, &str),
        value: &T,
        bytes: &[u8],
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) {
        let shown = format!("{value:?}");
        let again = read(bytes).unwrap_or_else(|| panic!("{name} is not read back"));
        assert_eq!(format!("{again:?}"), shown, "{name} is read otherwise");
        let _ = writeln!(self.text, "\n{name}\n  {shown}");
        for line in bytes.chunks(32) {
            self.text.push_str("  ");
            for byte in line {
                let _ = write!(self.text, "{byte:02x}");
            }
            self.text.push('\n');
        }
        if !seeds.is_empty() {
            let name = format!("golden-{}", name.replace(' ', "-"));
            let path = root().join("fuzz/corpus").join(seeds).join(name);
            self.seeds.push((path, bytes.to_vec()));
        }
    }

    /// Fails if anything is not as kept.
    pub(crate) fn compare(self) {
        let path = root().join("src").join(self.file);
        if std::env::var_os("EVERTREE_BLESS").is_some() {
            let files = self.seeds.into_iter().chain([(path, self.text.into_bytes())]);
            for (path, bytes) in files {
                fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
                fs::write(&path, bytes).expect("it can be written");
            }
            return;
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        for (line, (is, was)) in (1..).zip(self.text.lines().zip(kept.lines())) {
            assert_eq!(is, was, "{}:{line}; EVERTREE_BLESS=1 writes it anew", self.file);
        }
        assert_eq!(self.text.len(), kept.len(), "{}: EVERTREE_BLESS=1 writes it anew", self.file);
        for (path, bytes) in self.seeds {
            let kept = fs::read(&path).ok();
            assert_eq!(kept, Some(bytes), "{path:?}: EVERTREE_BLESS=1 writes it anew");
        }
    }
}

#[test]
fn golden_bytes_of_greetings() {
    let schemas = Schemas::of([("cart", 1), ("ledger", 7)]);
    let cluster = ClusterId(std::array::from_fn(|place| place.to_le_bytes()[0]));
    let node = |name: &str| name.parse().expect("a name");
    let hello = Hello {
        protocol_min: 1,
        protocol_max: 2,
        cluster_name: "shop".into(),
        cluster,
        node: node("n1"),
        boot: Boot(3),
        to: Some(node("n2")),
        class: 1,
        nonce: 0x0123_4567_89ab_cdef,
        schemas: schemas.clone(),
        token: 0xfedc_ba98_7654_3210,
    };
    let unformed = Hello {
        cluster: ClusterId::UNFORMED,
        to: None,
        schemas: Schemas::default(),
        ..hello.clone()
    };
    let (boot, token) = (Boot(9), 7);
    let welcome =
        Welcome { protocol: 1, cluster, node: node("n2"), boot, nonce: 5, schemas, token };
    let greetings = [
        ("hello", Greeting::Hello(hello)),
        ("hello before formation", Greeting::Hello(unformed)),
        ("welcome", Greeting::Welcome(welcome)),
        ("refuse", Greeting::Refuse(Refuse { reason: "this is n3, not n2".into() })),
    ];
    let mut golden = Golden::new("wire/golden/greetings.txt");
    for (name, greeting) in greetings {
        let read = |bytes: &[u8]| Greeting::decode(&mut BytesMut::from(bytes)).ok().flatten();
        golden.add(("greeting", name), &greeting, &greeting.encode(), read);
    }
    golden.compare();
}

/// The frames themselves are kept in the tests beside them; these are seeds.
#[test]
fn golden_bytes_of_streams_of_frames() {
    let header = Header {
        shard: Some(ShardId(7)),
        version: Version(8),
        epoch: Epoch(9),
        ..Header::of(Kind::Ask, 6)
    };
    let mut stream = BytesMut::new();
    encode(&header, b"first", &mut stream);
    encode(&Header::of(Kind::Ping, 0), b"", &mut stream);
    let mut rest = bytes::Bytes::from(vec![b'x'; super::PART_BYTES_MAX + 5]);
    while !rest.is_empty() {
        let (header, part) = next_part(&header, &mut rest);
        // What the parts hold is of no matter, and long.
        encode(&header, &part[..5], &mut stream);
    }
    let mut golden = Golden::new("wire/golden/streams.txt");
    let shown = "an ask, a ping, and an ask in two parts";
    golden.add(("frames", "stream"), &shown, &stream, |_| Some(shown));
    golden.compare();
}

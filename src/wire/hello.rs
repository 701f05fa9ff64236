//! The handshake: the only thing decoded from a peer that is not known yet.
//!
//! `evtr`, a kind byte, a two-byte length of at most [`HELLO_BYTES_MAX`], a body in the control
//! language. The dialler says [`Hello`]; the other side says [`Welcome`] or [`Refuse`].

use bytes::{Buf as _, BufMut as _, BytesMut};
use serde::{Deserialize, Serialize};

use super::negotiate::{Protocols, Schemas};
use super::{WireError, from_control, to_control};
use crate::base::{Boot, ClusterId, NodeId};

/// The newest protocol spoken here.
pub const PROTOCOL: u16 = Protocols::SPOKEN.max;
/// Longest body of a handshake frame, in bytes: 256 kinds of 63 bytes with their numbers are
/// 17,411, all else in it is short.
pub const HELLO_BYTES_MAX: usize = 20 << 10;

const MAGIC: [u8; 4] = *b"evtr";
const PREFIX_BYTES: usize = 7;

/// What the dialler says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest protocol it speaks.
    pub protocol_min: u16,
    /// Newest protocol it speaks.
    pub protocol_max: u16,
    /// Name of its cluster, as in its certificate.
    pub cluster_name: String,
    /// Its cluster; all zero before it formed or joined one.
    pub cluster: ClusterId,
    /// Its name, as in its certificate.
    pub node: NodeId,
    /// Its life.
    pub boot: Boot,
    /// Whom it means to reach, if it knows.
    pub to: Option<NodeId>,
    /// Class of the connection: 0 control, 1 message, 2 bulk.
    pub class: u8,
    /// Comes back in the welcome.
    pub nonce: u64,
    /// The kinds it knows; an older node does not say.
    #[serde(default)]
    pub schemas: Schemas,
    /// Drawn when its life began: tells it from another process that counts to the same boot. 0
    /// if it is not said.
    #[serde(default)]
    pub token: u64,
}

impl Hello {
    /// The protocols it speaks.
    #[must_use]
    pub fn protocols(&self) -> Protocols {
        Protocols { min: self.protocol_min, max: self.protocol_max }
    }
}

/// The link stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol both speak from here on.
    pub protocol: u16,
    /// Its cluster; all zero before it formed or joined one.
    pub cluster: ClusterId,
    /// Its name, as in its certificate.
    pub node: NodeId,
    /// Its life.
    pub boot: Boot,
    /// From the hello.
    pub nonce: u64,
    /// The kinds it knows; an older node does not say.
    #[serde(default)]
    pub schemas: Schemas,
    /// Drawn when its life began: tells it from another process that counts to the same boot. 0
    /// if it is not said.
    #[serde(default)]
    pub token: u64,
}

/// The link does not stand; the connection is closed after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse {
    /// Why, in words for an operator.
    pub reason: String,
}

/// Any frame of the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// From the dialler.
    Hello(Hello),
    /// From the other side.
    Welcome(Welcome),
    /// From either.
    Refuse(Refuse),
}

impl Greeting {
    /// The bytes of this frame.
    #[must_use]
    pub fn encode(&self) -> BytesMut {
        let (kind, body) = match self {
            Self::Hello(hello) => (1, to_control(hello)),
            Self::Welcome(welcome) => (2, to_control(welcome)),
            Self::Refuse(refuse) => {
                let reason = refuse.reason.chars().take(1_000).collect();
                (3, to_control(&Refuse { reason }))
            }
        };
        let mut out = BytesMut::with_capacity(body.len().saturating_add(PREFIX_BYTES));
        out.put_slice(&MAGIC);
        out.put_u8(kind);
        out.put_u16(u16::try_from(body.len()).unwrap_or(u16::MAX));
        out.put_slice(&body);
        out
    }

    /// Takes one greeting off the front of `input`; `None` if more must be received.
    ///
    /// # Errors
    /// [`WireError`]: the connection cannot be used further.
    pub fn decode(input: &mut BytesMut) -> Result<Option<Self>, WireError> {
        if input.iter().zip(&MAGIC).any(|(got, want)| got != want) {
            return Err(WireError::NotOurs);
        }
        let mut rest = &input[..];
        if rest.len() < PREFIX_BYTES {
            return Ok(None);
        }
        rest.advance(MAGIC.len());
        let (kind, bytes) = (rest.get_u8(), usize::from(rest.get_u16()));
        if bytes > HELLO_BYTES_MAX {
            return Err(WireError::TooLong { bytes, bytes_max: HELLO_BYTES_MAX });
        }
        if !(1..=3).contains(&kind) {
            return Err(WireError::Kind(kind));
        }
        let Some(body) = rest.get(..bytes) else { return Ok(None) };
        let greeting = match kind {
            1 => Self::Hello(from_control(body)?),
            2 => Self::Welcome(from_control(body)?),
            3 => Self::Refuse(from_control(body)?),
            kind => return Err(WireError::Kind(kind)),
        };
        input.advance(PREFIX_BYTES.saturating_add(bytes));
        Ok(Some(greeting))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn hello() -> Greeting {
        Greeting::Hello(Hello {
            protocol_min: 1,
            protocol_max: 1,
            cluster_name: "c".into(),
            cluster: ClusterId::UNFORMED,
            node: "n1".parse().expect("a name"),
            boot: Boot(2),
            to: None,
            class: 0,
            nonce: 9,
            schemas: Schemas::of([("cart", 3)]),
            token: 5,
        })
    }

    #[test]
    fn golden_bytes_of_the_handshake() {
        let refuse = Greeting::Refuse(Refuse { reason: "no".into() });
        assert_eq!(&refuse.encode()[..], b"evtr\x03\x00\x0c\x01\x81\xa6reason\xa2no");
        let mut golden = b"evtr\x01\x00\x8e\x01\x8b".to_vec();
        golden.extend(b"\xacprotocol_min\x01\xacprotocol_max\x01\xaccluster_name\xa1c");
        golden.extend(b"\xa7cluster\xdc\x00\x20");
        golden.extend([0; 32]);
        golden.extend(b"\xa4node\xa2n1\xa4boot\x02\xa2to\xc0\xa5class\x00\xa5nonce\x09");
        golden.extend(b"\xa7schemas\x81\xa4cart\x03\xa5token\x05");
        assert_eq!(hello().encode(), golden);
    }

    /// A hello as a node before or after this version writes it, field by field.
    fn hello_with(fields: &[(&str, u64)]) -> BytesMut {
        let known = [("protocol_min", 1), ("protocol_max", 4), ("boot", 2), ("class", 0)];
        let mut body = BTreeMap::from([("nonce", Field::Number(9))]);
        body.extend(known.map(|(name, number)| (name, Field::Number(number))));
        body.insert("cluster_name", Field::Text("c"));
        body.insert("node", Field::Text("n1"));
        body.insert("cluster", Field::Bytes(ClusterId::UNFORMED.0));
        body.extend(fields.iter().map(|(name, number)| (*name, Field::Number(*number))));
        let body = to_control(&body);
        let mut bytes = BytesMut::from(&b"evtr\x01"[..]);
        bytes.put_u16(u16::try_from(body.len()).expect("short"));
        bytes.put_slice(&body);
        bytes
    }

    #[derive(Serialize)]
    #[serde(untagged)]
    enum Field {
        Number(u64),
        Text(&'static str),
        Bytes([u8; 32]),
    }

    #[test]
    fn hellos_of_older_and_newer_nodes_are_read() {
        for fields in [&[][..], &[("a field of the future", 1)]] {
            let decoded = Greeting::decode(&mut hello_with(fields));
            let Ok(Some(Greeting::Hello(hello))) = decoded else { panic!("{decoded:?}") };
            assert_eq!((&hello.schemas, hello.token), (&Schemas::default(), 0));
            assert_eq!((hello.to.as_ref(), hello.nonce), (None, 9));
            assert_eq!(hello.protocols().newest_common(Protocols::SPOKEN), Some(1));
        }
    }

    #[test]
    fn the_longest_greeting_there_is_fits() {
        let names: Vec<String> = (0..256).map(|index| format!("{index:063}")).collect();
        let longest = "n".repeat(63);
        let Greeting::Hello(mut hello) = hello() else { panic!("it is one") };
        hello.schemas = Schemas::of(names.iter().map(|name| (name.as_str(), u16::MAX)));
        assert_eq!(hello.schemas.iter().count(), 256);
        hello.cluster_name = "c".repeat(256);
        hello.cluster = ClusterId([0xff; 32]);
        hello.node = longest.parse().expect("a name");
        hello.to = Some(hello.node.clone());
        (hello.protocol_min, hello.protocol_max) = (u16::MAX, u16::MAX);
        (hello.boot, hello.class, hello.nonce) = (Boot(u64::MAX), 0xff, u64::MAX);
        hello.token = u64::MAX;
        let whole = Greeting::Hello(hello);
        let mut bytes = whole.encode();
        assert!(bytes.len() < HELLO_BYTES_MAX, "{}", bytes.len());
        assert_eq!(Greeting::decode(&mut bytes), Ok(Some(whole)));
    }

    #[test]
    fn greetings_survive_and_truncated_ones_wait() {
        let whole = hello().encode();
        for cut in 0..whole.len() {
            let mut input = BytesMut::from(&whole[..cut]);
            assert_eq!(Greeting::decode(&mut input), Ok(None), "cut at {cut}");
        }
        let mut input = whole;
        input.extend_from_slice(b"next");
        assert_eq!(Greeting::decode(&mut input), Ok(Some(hello())));
        assert_eq!(&input[..], b"next");
    }

    #[test]
    fn malformed_greetings_are_refused_as_early_as_can_be() {
        let table: [(&[u8], WireError); 5] = [
            (b"GET / HTTP/1.1", WireError::NotOurs),
            (b"\x16\x03\x01", WireError::NotOurs),
            (b"evtR", WireError::NotOurs),
            (b"evtr\x01\xff\xff", WireError::TooLong { bytes: 65_535, bytes_max: 20_480 }),
            (b"evtr\x09\x00\x01", WireError::Kind(9)),
        ];
        for (bytes, error) in table {
            let mut input = BytesMut::from(bytes);
            assert_eq!(Greeting::decode(&mut input), Err(error), "{bytes:?}");
        }
        let mut other = BytesMut::from(&b"evtr\x02\x00\x02\x01\x80"[..]);
        assert!(matches!(Greeting::decode(&mut other), Err(WireError::Garbage(_))));
    }
}

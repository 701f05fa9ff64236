//! From a byte stream to a peer whose name is proved. Nothing else of it is decoded before.

use std::fmt;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::api::{Class, Identity, Life, Peer, Security};
use super::tls::{Proof, Role, Secured, explain};
use crate::base::{ClusterId, NodeId, Stream};
use crate::wire::hello::{Greeting, Hello, Refuse, Welcome};
use crate::wire::negotiate::{Protocols, Schemas};
use crate::wire::{WireError, printable};

/// Longest reason of another side that is repeated, in characters: our own fit, two clusters' 64
/// digits and two longest names of nodes included.
const REASON_CHARS_MAX: usize = 500;
/// Longest name of a cluster that is repeated, in characters.
const NAME_CHARS_MAX: usize = 200;

/// What this node is at the start of a handshake.
#[derive(Debug, Clone)]
pub(super) struct Me {
    pub(super) identity: Identity,
    pub(super) cluster: ClusterId,
    /// The kinds it knows.
    pub(super) schemas: Schemas,
    /// Drawn when its life began.
    pub(super) token: u64,
    /// Changes with any of these but the kinds: a handshake begun before counts for nothing.
    pub(super) generation: u64,
}

/// Who asks to be let in, once its name is proved.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    pub(super) life: Life,
    pub(super) formation_only: bool,
    /// It knows whom it reaches, and this is its one link of the class.
    pub(super) is_lane: bool,
}

/// Whom a connection turned out to reach.
pub(super) struct Met {
    pub(super) peer: Peer,
    pub(super) token: u64,
    pub(super) class: Class,
    pub(super) cluster: ClusterId,
    /// The kinds the other side knows.
    pub(super) schemas: Schemas,
    pub(super) formation_only: bool,
    /// The dialler knew whom it would reach: this is its one link of the class.
    pub(super) is_lane: bool,
    pub(super) stream: Stream,
    /// Already received behind the handshake.
    pub(super) rest: BytesMut,
    /// TLS resumed an earlier session.
    pub(super) resumed: bool,
}

impl fmt::Debug for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Met({:?}, {})", self.peer, self.class)
    }
}

/// The dialling side. `to` is whom it means to reach, if it knows.
pub(super) async fn dial(
    me: &Me,
    security: &Security,
    stream: Stream,
    (to, class): (Option<&NodeId>, Class),
    nonce: u64,
) -> Result<Met, String> {
    let Secured { mut stream, proof, resumed } = match security {
        Security::Tls(tls) => tls.connect(stream, to).await?,
        Security::Insecure => Secured { stream, proof: None, resumed: false },
    };
    if let Err(why) = judge_certificate(me, proof.as_ref(), to) {
        let reason = format!("your certificate is not accepted: {why}");
        // Best effort: this side knows already.
        let _ = send(&mut stream, &Greeting::Refuse(Refuse { reason })).await;
        return Err(format!("the other side's certificate is not accepted: {why}"));
    }
    let hello = Hello {
        protocol_min: Protocols::SPOKEN.min,
        protocol_max: Protocols::SPOKEN.max,
        cluster_name: me.identity.cluster_name.clone(),
        cluster: me.cluster,
        node: me.identity.node.clone(),
        boot: me.identity.boot,
        to: to.cloned(),
        class: class as u8,
        nonce,
        schemas: me.schemas.clone(),
        token: me.token,
    };
    // If it fails, what the other side had to say may still be there to read.
    let _ = send(&mut stream, &Greeting::Hello(hello)).await;
    let mut rest = BytesMut::new();
    let answer = receive(&mut stream, &mut rest).await?;
    let welcome = match answer.map_err(|error| error.to_string())? {
        Greeting::Welcome(welcome) => welcome,
        Greeting::Refuse(refuse) => return Err(refused(&refuse)),
        Greeting::Hello(_) => return Err("the other side answered with a hello".into()),
    };
    if welcome.nonce != nonce || !Protocols::SPOKEN.has(welcome.protocol) {
        return Err("the other side answered another handshake than this one".into());
    }
    judge_name(&welcome.node, proof.as_ref())?;
    if to.is_some_and(|to| *to != welcome.node) {
        return Err(format!("this is the address of {}, not of the node meant", welcome.node));
    }
    let formation_only = judge_cluster(me, welcome.cluster)?;
    let peer = Peer { node: welcome.node.clone(), boot: welcome.boot };
    let Welcome { cluster, schemas, token, .. } = welcome;
    let is_lane = to.is_some();
    Ok(Met { peer, token, class, cluster, schemas, formation_only, is_lane, stream, rest, resumed })
}

/// The accepting side. `admit` says whether there is a place for whoever has proved its name.
pub(super) async fn accept<A>(
    me: &Me,
    security: &Security,
    stream: Stream,
    admit: impl FnOnce(Caller) -> A,
) -> Result<Met, String>
where
    A: Future<Output = Result<(), &'static str>>,
{
    let Secured { mut stream, proof, resumed } = match security {
        Security::Tls(tls) => tls.accept(stream).await?,
        Security::Insecure => Secured { stream, proof: None, resumed: false },
    };
    let mut rest = BytesMut::new();
    let greeted: Result<Hello, String> = match receive(&mut stream, &mut rest).await? {
        Ok(Greeting::Hello(hello)) => Ok(hello),
        Ok(Greeting::Refuse(refuse)) => return Err(refused(&refuse)),
        Ok(Greeting::Welcome(_)) => Err("it began with a welcome, not with a hello".into()),
        Err(error) => Err(error.to_string()),
    };
    let hello = match greeted {
        Ok(hello) => hello,
        Err(why) => {
            let reason = format!("your greeting is not understood: {why}");
            let _ = send(&mut stream, &Greeting::Refuse(Refuse { reason })).await;
            return Err(why);
        }
    };
    let peer = Peer { node: hello.node.clone(), boot: hello.boot };
    let judged = match judge_hello(me, &hello, proof.as_ref()) {
        Ok(judged) => {
            let life = Life { boot: hello.boot, token: hello.token };
            let (peer, is_lane) = (peer.clone(), hello.to.is_some());
            let caller = Caller { peer, life, formation_only: judged.2, is_lane };
            admit(caller).await.map(|()| judged).map_err(Into::into)
        }
        Err(why) => Err(why),
    };
    let (class, protocol, formation_only) = match judged {
        Ok(judged) => judged,
        Err(reason) => {
            let why = format!("{} was refused: {reason}", hello.node);
            let _ = send(&mut stream, &Greeting::Refuse(Refuse { reason })).await;
            return Err(why);
        }
    };
    let welcome = Welcome {
        protocol,
        cluster: me.cluster,
        node: me.identity.node.clone(),
        boot: me.identity.boot,
        nonce: hello.nonce,
        schemas: me.schemas.clone(),
        token: me.token,
    };
    send(&mut stream, &Greeting::Welcome(welcome)).await.map_err(|error| explain(&error))?;
    let Hello { cluster, schemas, token, to, .. } = hello;
    let is_lane = to.is_some();
    Ok(Met { peer, token, class, cluster, schemas, formation_only, is_lane, stream, rest, resumed })
}

fn judge_hello(
    me: &Me,
    hello: &Hello,
    proof: Option<&Proof>,
) -> Result<(Class, u16, bool), String> {
    judge_certificate(me, proof, None)?;
    judge_name(&hello.node, proof)?;
    let own = &me.identity;
    if hello.cluster_name != own.cluster_name {
        return Err(format!(
            "it belongs to cluster {}, and {} to cluster {:?}: correct its cluster name or its \
             seeds",
            quoted(&hello.cluster_name),
            own.node,
            own.cluster_name
        ));
    }
    let (ours, theirs) = (Protocols::SPOKEN, hello.protocols());
    let protocol = ours.newest_common(theirs).ok_or_else(|| {
        format!(
            "it speaks protocols {theirs}, and {} speaks {ours}: update the older one",
            own.node
        )
    })?;
    if let Some(to) = hello.to.as_ref().filter(|to| **to != own.node) {
        return Err(format!("this is {}, not {to}: correct the address of {to}", own.node));
    }
    let class = *Class::ALL
        .get(usize::from(hello.class))
        .ok_or_else(|| format!("{} is no class of connection", hello.class))?;
    Ok((class, protocol, judge_cluster(me, hello.cluster)?))
}

/// Whether the other side's certificate is one of this cluster, and of the node meant.
fn judge_certificate(me: &Me, proof: Option<&Proof>, to: Option<&NodeId>) -> Result<(), String> {
    let Some(proof) = proof else { return Ok(()) };
    let san = proof.as_ref().map_err(Clone::clone)?;
    if san.cluster_name != me.identity.cluster_name {
        return Err(format!(
            "it is for {san}, and this cluster is {:?}: use certificates of one cluster",
            me.identity.cluster_name
        ));
    }
    if san.role != Role::Node {
        return Err(format!(
            "it is for {san}, and only nodes speak here: use a node's certificate"
        ));
    }
    match to {
        Some(to) if *to != san.name => Err(format!(
            "it is for {}, and the node meant is {to}: correct the address of {to}, or its \
             certificate",
            san.name
        )),
        _ => Ok(()),
    }
}

/// Whether the other side is who it claims to be.
fn judge_name(claim: &NodeId, proof: Option<&Proof>) -> Result<(), String> {
    match proof {
        Some(Ok(san)) if san.name != *claim => Err(format!(
            "it claims to be {claim}, but its certificate is for {}: give {claim} its own \
             certificate",
            san.name
        )),
        Some(Ok(_)) | None => Ok(()),
        Some(Err(why)) => Err(why.clone()),
    }
}

/// Whether the clusters agree; true if the link carries only formation.
fn judge_cluster(me: &Me, other: ClusterId) -> Result<bool, String> {
    let unformed = [me.cluster, other].contains(&ClusterId::UNFORMED);
    if !unformed && me.cluster != other {
        return Err(format!(
            "its data belongs to cluster {other}, and that of {} to cluster {}: one of the two \
             has a wrong data directory or wrong seeds",
            me.identity.node, me.cluster
        ));
    }
    Ok(unformed)
}

/// Why the other side refused, fit for a log: its words may be anybody's.
fn refused(refuse: &Refuse) -> String {
    format!("refused: {}", printable(&refuse.reason, REASON_CHARS_MAX))
}

/// A name that may be anybody's, in quotes, fit for a log.
fn quoted(name: &str) -> String {
    format!("{name:?}").chars().take(NAME_CHARS_MAX).collect()
}

async fn send(stream: &mut Stream, greeting: &Greeting) -> std::io::Result<()> {
    stream.write_all(&greeting.encode()).await?;
    stream.flush().await
}

/// Reads one greeting, or what is none. Bounded by the longest greeting and one read.
///
/// # Errors
/// Why nothing can be read: then nothing can be said either.
async fn receive(
    stream: &mut Stream,
    rest: &mut BytesMut,
) -> Result<Result<Greeting, WireError>, String> {
    loop {
        if let Some(greeting) = Greeting::decode(rest).transpose() {
            return Ok(greeting);
        }
        rest.reserve(1024);
        match stream.read_buf(rest).await {
            Ok(0) => return Err("the other side closed the connection in the handshake".into()),
            Ok(_) => {}
            Err(error) => return Err(explain(&error)),
        }
    }
}

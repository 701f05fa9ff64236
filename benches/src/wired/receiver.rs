//! The receiving process: this program, started once more.
//!
//! It is told what to be by its arguments, gets its certificates on its standard input, says where
//! it listens on its standard output, and ends when its standard input does.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::ours::{Handler, Pem, Receiver};
use super::raw;

/// First argument of a receiving process.
const RECEIVE: &str = "receive";
/// Ends a text on the standard input.
const END: &str = ".";

/// What a receiving process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`raw::receive`].
    Raw,
    /// [`Receiver`], with TLS or without.
    Ours(Handler, Protection),
}

/// How links are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    Tls,
    Insecure,
}

const KINDS: [(&str, Kind); 5] = [
    ("raw", Kind::Raw),
    ("tls-direct", Kind::Ours(Handler::Direct, Protection::Tls)),
    ("tls-actor", Kind::Ours(Handler::Actor, Protection::Tls)),
    ("insecure-direct", Kind::Ours(Handler::Direct, Protection::Insecure)),
    ("insecure-actor", Kind::Ours(Handler::Actor, Protection::Insecure)),
];

/// A receiving process, killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    pub addr: SocketAddr,
    child: Child,
}

impl Process {
    /// Starts this program as a receiver that shows `pem`.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(kind: Kind, pem: &Pem) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let (word, _) = KINDS.iter().find(|(_, known)| *known == kind).expect("a kind above");
        let mut child = Command::new(program)
            .args([RECEIVE, word])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let input = child.stdin.as_mut().expect("it was asked for");
        for text in [&pem.ca, &pem.cert, &pem.key] {
            writeln!(input, "{}\n{END}", text.trim_end()).expect("it reads");
        }
        let mut said = String::new();
        let output = child.stdout.take().expect("it was asked for");
        BufReader::new(output).read_line(&mut said).expect("text");
        Self { addr: said.trim().parse().expect("an address"), child }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the receiver, if this process was started as one; whether it was.
///
/// # Panics
/// If it was started by anybody but [`Process::start`].
#[must_use]
pub fn was_one() -> bool {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [RECEIVE, word] = [words.first(), words.get(1)].map(|w| w.map_or("", String::as_str))
    else {
        return false;
    };
    let (_, kind) = *KINDS.iter().find(|(name, _)| *name == word).expect("a kind above");
    let mut input = io::stdin().lock();
    let mut text = || {
        let lines = input.by_ref().lines().map(|line| line.expect("text"));
        lines.take_while(|line| line != END).collect::<Vec<_>>().join("\n")
    };
    let pem = Pem { ca: text(), cert: text(), key: text() };
    let runtime = super::runtime("receiver");
    // Lives as long as this process.
    let (addr, _receiver) = runtime.block_on(async {
        match kind {
            Kind::Raw => {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
                let listener = listener.expect("loopback and a free port");
                let addr = listener.local_addr().expect("it listens");
                tokio::spawn(raw::receive(listener));
                (addr, None)
            }
            Kind::Ours(handler, protection) => {
                let pem = (protection == Protection::Tls).then_some(&pem);
                let receiver = Receiver::start(pem, handler).await;
                (receiver.addr, Some(receiver))
            }
        }
    });
    println!("{addr}");
    let _ = io::copy(&mut input, &mut io::sink());
    true
}

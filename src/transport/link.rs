//! A way to one service of one node, for those who send much: it finds its connection once, not
//! with every message.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::api::{AskError, Class, Head, SendError, Service};
use super::conn::Conn;
use super::links::Shared;
use super::output::Rejected;
use super::tally::count;
use crate::base::{Instant, NodeId, within};
use crate::wire::{Header, Kind};

/// Bytes that wait after which [`Link::send`] lets other tasks run. The connection's task waits for
/// the thread of whoever woke it: a sender that never stops would fill all the room there is before
/// the first byte is written, out of every cache.
const TURN_BYTES: usize = 128 << 10;

/// See the module. Made by [`Links::link`](super::Links::link); outlives the connections it uses.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    node: NodeId,
    class: Class,
    service: Service,
    /// The connection used last.
    conn: ArcSwapOption<Conn>,
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>, node: NodeId, class: Class, service: Service) -> Self {
        Self { shared, node, class, service, conn: ArcSwapOption::empty() }
    }

    /// Whom it leads to.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        &self.node
    }

    /// Sends without waiting; dials first if there is no connection. What is lost with a
    /// connection is reported by [`Links::on_lost`](super::Links::on_lost).
    ///
    /// # Errors
    /// [`SendError`]; it was not sent.
    #[expect(clippy::needless_pass_by_value, reason = "bodies are handed over")]
    pub fn tell(&self, head: Head, body: Bytes) -> Result<(), SendError> {
        self.check(&body)?;
        match self.try_tell(&self.header(Kind::Tell, head), &body)? {
            Told::Waiting(_) => Ok(()),
            Told::NoRoom(conn) => Err(self.rejected(&conn, Rejected::Overloaded)),
        }
    }

    /// As [`Link::tell`], and waits for room until `deadline`.
    ///
    /// # Errors
    /// [`SendError`]; it was not sent.
    pub async fn send(&self, head: Head, body: Bytes, deadline: Instant) -> Result<(), SendError> {
        self.check(&body)?;
        let header = self.header(Kind::Tell, head);
        let waiting = match self.try_tell(&header, &body)? {
            Told::Waiting(waiting) => waiting,
            Told::NoRoom(conn) => {
                let tell = || conn.tell(&header, &body, self.waiting_max());
                let clock = &*self.shared.seams.clock;
                let told = within(clock, deadline, conn.with_room(tell)).await;
                let told = told.unwrap_or(Err(Rejected::Overloaded));
                told.map_err(|why| self.rejected(&conn, why))?
            }
        };
        if waiting >= TURN_BYTES {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Sends and waits for the answer, for room first, at most until `deadline`. Dropped, it is
    /// taken back if it has not left yet.
    ///
    /// # Errors
    /// [`AskError`] says whether it may have been executed.
    pub async fn ask(&self, head: Head, body: Bytes, deadline: Instant) -> Result<Bytes, AskError> {
        self.check(&body)?;
        if self.shared.now() >= deadline {
            return Err(AskError::NotExecuted("its deadline had passed already".into()));
        }
        let conn = self.conn()?;
        let header = self.header(Kind::Ask, head);
        match self.ask_on(&conn, &header, &body, deadline).await {
            // It ended between two looks at it: another one may stand.
            Err(Ended::Before(_)) => {
                let conn = self.fresh_conn()?;
                let asked = self.ask_on(&conn, &header, &body, deadline).await;
                asked.unwrap_or_else(|Ended::Before(error)| Err(error))
            }
            Ok(asked) => asked,
        }
    }

    async fn ask_on(
        &self,
        conn: &Conn,
        header: &Header,
        body: &Bytes,
        deadline: Instant,
    ) -> Result<Result<Bytes, AskError>, Ended> {
        ask_on(&self.shared, conn, (header, body), deadline).await
    }

    /// Tells on the connection at hand, or on a new one if that has ended.
    fn try_tell(&self, header: &Header, body: &Bytes) -> Result<Told, SendError> {
        let waiting_max = self.waiting_max();
        if let Some(conn) = &*self.conn.load()
            && !conn.is_formation_only()
        {
            match conn.tell(header, body, waiting_max) {
                Ok(waiting) => return Ok(Told::Waiting(waiting)),
                Err(Rejected::Overloaded) => return Ok(Told::NoRoom(conn.clone())),
                Err(Rejected::Closed(_)) => {}
            }
        }
        let conn = self.fresh_conn()?;
        match conn.tell(header, body, waiting_max) {
            Ok(waiting) => Ok(Told::Waiting(waiting)),
            Err(Rejected::Overloaded) => Ok(Told::NoRoom(conn)),
            Err(why @ Rejected::Closed(_)) => Err(self.rejected(&conn, why)),
        }
    }

    fn conn(&self) -> Result<Arc<Conn>, SendError> {
        match self.conn.load_full() {
            // A link to somebody in no cluster is for the table to judge.
            Some(conn) if !conn.is_formation_only() => Ok(conn),
            Some(_) | None => self.fresh_conn(),
        }
    }

    fn fresh_conn(&self) -> Result<Arc<Conn>, SendError> {
        let conn = self.shared.link_to(&self.node, self.class, self.service)?;
        self.conn.store(Some(conn.clone()));
        Ok(conn)
    }

    fn check(&self, body: &Bytes) -> Result<(), SendError> {
        check_size(self.class, body)
    }

    fn waiting_max(&self) -> usize {
        waiting_max(&self.shared, self.class, self.service)
    }

    fn header(&self, kind: Kind, head: Head) -> Header {
        header(kind, self.service, head)
    }

    fn rejected(&self, conn: &Conn, why: Rejected) -> SendError {
        rejected(&self.shared, (self.class, self.service), conn, why)
    }
}

/// What became of a tell that may wait.
enum Told {
    /// It was taken in; so many bytes wait now.
    Waiting(usize),
    /// It was not: this connection has no room now.
    NoRoom(Arc<Conn>),
}

/// The connection had ended before the ask was taken in.
#[derive(Debug)]
pub(super) enum Ended {
    /// With what to tell the asker if there is no other.
    Before(AskError),
}

/// Asks on one connection, and waits for room first.
pub(super) async fn ask_on(
    shared: &Shared,
    conn: &Conn,
    (header, body): (&Header, &Bytes),
    deadline: Instant,
) -> Result<Result<Bytes, AskError>, Ended> {
    let clock = &*shared.seams.clock;
    let ask = || conn.ask(header, body, deadline);
    let mut asked = ask();
    if let Err(Rejected::Overloaded) = asked {
        let waited = within(clock, deadline, conn.with_room(ask)).await;
        asked = waited.unwrap_or(Err(Rejected::Overloaded));
    }
    match asked {
        Ok(waiting) => Ok(waiting.answer().await),
        Err(Rejected::Overloaded) => {
            count(&shared.tally.overloaded);
            Ok(Err(SendError::Overloaded(conn.label.clone()).into()))
        }
        Err(why @ Rejected::Closed(_)) => {
            let error = rejected(shared, (conn.class, Service::Entity), conn, why);
            Err(Ended::Before(error.into()))
        }
    }
}

/// Bytes that may wait on a connection with a message of this service.
fn waiting_max(shared: &Shared, class: Class, service: Service) -> usize {
    if (class, service) == (Class::Control, Service::Gossip) {
        shared.limits.gossip_bytes_max
    } else {
        usize::MAX
    }
}

pub(super) fn check_size(class: Class, body: &Bytes) -> Result<(), SendError> {
    let (bytes, bytes_max) = (body.len(), class.body_bytes_max());
    if bytes > bytes_max { Err(SendError::TooBig { bytes, bytes_max }) } else { Ok(()) }
}

pub(super) fn header(kind: Kind, service: Service, head: Head) -> Header {
    let Head { version, shard, epoch, lane, schema } = head;
    let service = service as u8;
    Header { service, lane, schema, shard, version, epoch, ..Header::of(kind, 0) }
}

/// What the sender is told, and counted.
fn rejected(
    shared: &Shared,
    (class, service): (Class, Service),
    conn: &Conn,
    why: Rejected,
) -> SendError {
    match why {
        Rejected::Overloaded => {
            let gossip = (class, service) == (Class::Control, Service::Gossip);
            let tally = &shared.tally;
            count(if gossip { &tally.gossip_dropped } else { &tally.overloaded });
            SendError::Overloaded(conn.label.clone())
        }
        Rejected::Closed(why) => SendError::Unreachable(format!("{}: {why}", conn.label)),
    }
}

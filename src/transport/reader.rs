//! Judges the frames that arrive on a connection, and hands them to whom they are for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::{ArcSwap, Cache};
use bytes::{Bytes, BytesMut};

use super::api::{AskError, Class, Head, Inbound, Peer, ReplyTo, Service};
use super::conn::{Conn, Role};
use super::lanes::{Receiving, Totals};
use super::links::Shared;
use super::output::frame_bytes;
use super::tally::count;
use crate::base::Clock;
use crate::wire::{Assembler, Frame, Header, Kind, Part, Splitter};

/// Who serves what, by number of service.
pub(super) type Services = [Option<Arc<dyn Inbound>>; Service::PLACES];

/// What the task of a connection needs to judge a frame.
pub(super) struct Reader<'a> {
    shared: &'a Shared,
    conn: &'a Arc<Conn>,
    peer: Peer,
    splitter: Splitter,
    assembler: Assembler,
    lanes: Receiving,
    /// Asks that came, or were answered, since this was last asked.
    exchanged: u32,
    services: Cache<&'a ArcSwap<Services>, Arc<Services>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(shared: &'a Shared, conn: &'a Arc<Conn>, peer: Peer) -> Self {
        Self {
            shared,
            conn,
            peer,
            splitter: Splitter::new(conn.class.frame_body_bytes_max()),
            assembler: Assembler::new(conn.class.body_bytes_max()),
            lanes: Receiving::new(conn.class.lanes()),
            exchanged: 0,
            services: Cache::new(&shared.services),
        }
    }

    /// Something arrived. Only where somebody wants to know is the clock read.
    pub(super) fn arrived(&self, clock: &dyn Clock) {
        if self.conn.class == Class::Control {
            let now = clock.now();
            self.conn.heard.store(now.as_nanos(), Ordering::Relaxed);
            self.shared.hooks.arrival(&self.peer, now);
        }
    }

    /// Takes every whole frame off `input`.
    ///
    /// # Errors
    /// The other side broke the protocol.
    pub(super) fn take_frames(&mut self, input: &mut BytesMut) -> Result<(), String> {
        let broken =
            |why: &dyn std::fmt::Display| format!("the other side broke the protocol: {why}");
        while let Some(frame) = self.splitter.next(input).map_err(|error| broken(&error))? {
            self.count(&frame).map_err(|why| broken(&why))?;
            if let Some(frame) = self.assembler.take(frame).map_err(|error| broken(&error))? {
                self.take(frame).map_err(|why| broken(&why))?;
            }
        }
        Ok(())
    }

    /// Says that the other side is heard, and what was taken in and not said yet.
    pub(super) fn show_heard(&mut self) {
        self.say_unsaid();
        self.conn.answer(Kind::Pong, 0, Bytes::new());
    }

    /// Says what was taken in and not said yet.
    pub(super) fn say_unsaid(&mut self) {
        let unsaid = self.lanes.unsaid();
        if !unsaid.is_empty() {
            self.conn.say_credits(&unsaid);
        }
    }

    /// How many asks came, or were answered, since this was last asked.
    pub(super) fn take_exchanged(&mut self) -> u32 {
        std::mem::take(&mut self.exchanged)
    }

    /// Counts a frame of a lane, and says so to its sender when it is time.
    fn count(&mut self, frame: &Frame) -> Result<(), String> {
        let Frame { header, body } = frame;
        let is_tell = match header.kind {
            Kind::Tell => header.part != Part::More,
            Kind::Ask | Kind::Void => false,
            Kind::Reply
            | Kind::Refusal
            | Kind::Dropped
            | Kind::Ping
            | Kind::Pong
            | Kind::Credit
            | Kind::Bye => return Ok(()),
        };
        let bytes = frame_bytes(header, body.len()) as u64;
        if let Some(taken) = self.lanes.took(header.lane, bytes, is_tell)? {
            self.conn.say_credits(&[(header.lane, taken)]);
        }
        Ok(())
    }

    fn take(&mut self, frame: Frame) -> Result<(), String> {
        let Frame { header, body } = frame;
        match (self.conn.role, header.kind) {
            (_, Kind::Pong | Kind::Void) => {}
            (Role::Accepted, Kind::Tell) => self.tell(&header, body),
            (Role::Accepted, Kind::Ask) => {
                self.exchanged += 1;
                self.ask(&header, body);
            }
            (Role::Accepted, Kind::Ping) => {
                self.show_heard();
            }
            (Role::Accepted, Kind::Bye) => drop(self.conn.end("the other side is done", false)),
            (Role::Dialled, Kind::Reply) => {
                self.exchanged += 1;
                self.conn.settle(header.call, Ok(body));
            }
            (Role::Dialled, Kind::Refusal) => {
                self.conn.settle(header.call, Err(AskError::Refused(body)));
            }
            (Role::Dialled, Kind::Dropped) => {
                let why = format!("{} dropped it without an answer", self.peer.node);
                self.conn.settle(header.call, Err(AskError::Unknown(why)));
            }
            (Role::Dialled, Kind::Credit) => {
                let taken = Totals { bytes: header.call, tells: header.version.0 };
                self.conn.credit(header.lane, taken)?;
            }
            (Role::Dialled, Kind::Tell | Kind::Ask | Kind::Ping | Kind::Bye)
            | (Role::Accepted, Kind::Reply | Kind::Refusal | Kind::Dropped | Kind::Credit) => {
                return Err(format!("{:?} on a {:?} connection", header.kind, self.conn.role));
            }
        }
        Ok(())
    }

    fn tell(&mut self, header: &Header, body: Bytes) {
        match inbound(&mut self.services, self.conn, header) {
            Some(inbound) => inbound.tell(&self.peer, head_of(header), body),
            None => count(&self.shared.tally.tells_dropped),
        }
    }

    fn ask(&mut self, header: &Header, body: Bytes) {
        let reply = ReplyTo { conn: self.conn.clone(), call: header.call, answered: false };
        match inbound(&mut self.services, self.conn, header) {
            Some(inbound) => inbound.ask(&self.peer, head_of(header), body, reply),
            None => reply.refuse(Bytes::new()),
        }
    }
}

/// Whom the frame is for; nobody, if nobody serves it or this link may not carry it.
fn inbound<'a>(
    services: &'a mut Cache<&ArcSwap<Services>, Arc<Services>>,
    conn: &Conn,
    header: &Header,
) -> Option<&'a dyn Inbound> {
    let service = Service::from_wire(header.service)?;
    if conn.is_formation_only() && service != Service::Formation {
        return None;
    }
    services.load()[service as usize].as_deref()
}

fn head_of(header: &Header) -> Head {
    Head {
        version: header.version,
        shard: header.shard,
        epoch: header.epoch,
        lane: header.lane,
        schema: header.schema,
    }
}

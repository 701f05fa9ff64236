//! Making connections to others: one task per dial, and a back-off after one that failed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::api::{Class, Life, Security};
use super::conn::{Conn, Role};
use super::handshake::{self, Me, Met};
use super::links::Shared;
use super::tally::count;
use super::watch;
use crate::base::{ClusterId, Instant, NodeId, Stream, within};

/// Whom a dial is for.
#[derive(Debug, Clone, Copy)]
struct Target<'a> {
    addr: &'a str,
    node: Option<&'a NodeId>,
    class: Class,
}

/// An old backup or a copy of a directory runs where the member is expected. What it answers, a
/// vote above all, would be out of what it has forgotten.
const EARLIER: &str = "a process of an earlier life than the member's answers there";

impl Shared {
    /// Whether `life` is none that a member of this name may begin: not later than the member's,
    /// and not it.
    fn is_before_the_member(&self, node: &NodeId, life: Life) -> bool {
        let table = self.table.lock();
        let member = table.members.get(node);
        member.is_some_and(|member| life.boot <= member.boot && !member.is_of(life))
    }

    /// Dials for a lane whose output gathers already.
    pub(super) async fn dial_lane(
        self: &Arc<Self>,
        conn: &Arc<Conn>,
        me: Me,
        (to, addr): (&NodeId, &str),
    ) {
        let deadline = self.now() + self.timing.dial;
        let target = Target { addr, node: Some(to), class: conn.class };
        match self.dial(&me, target, deadline, conn).await {
            Ok(met) => {
                let stands = {
                    let mut table = self.table.lock();
                    let same = table.me.generation == me.generation && !table.stopped;
                    table.lane_of(conn, to).is_some() && same
                };
                let life = Life { boot: met.peer.boot, token: met.token };
                if stands && !met.formation_only && self.is_before_the_member(to, life) {
                    count(&self.tally.dials_failed);
                    self.back_off(conn, to, &format!("cannot reach {to} at {addr}: {EARLIER}"));
                    conn.end(EARLIER, false);
                } else if stands {
                    count(&self.tally.dialled);
                    self.run(conn, met, Vec::new());
                    return;
                }
                conn.end("this node closed it while it was dialled", false);
            }
            Err(why) if !conn.is_over() => {
                count(&self.tally.dials_failed);
                tracing::debug!(%to, addr, why, "dial failed");
                self.back_off(conn, to, &format!("cannot reach {to} at {addr}: {why}"));
                conn.end(&why, false);
            }
            // Closed by this node meanwhile.
            Err(_) => {}
        }
        self.report_losses(conn, to);
    }

    /// The lane of `conn` is empty, and is not dialled again before the back-off has passed. Only a
    /// link that stood for as long as the longest back-off ends a row of failures: else a peer that
    /// lets others in and breaks would be dialled for ever at the shortest.
    pub(super) fn back_off(&self, conn: &Arc<Conn>, node: &NodeId, why: &str) {
        let mut table = self.table.lock();
        let Some(lane) = table.lane_of(conn, node) else { return };
        let longest = self.timing.backoff_max;
        let stood_since = Instant::from_nanos(conn.stands_since.load(Ordering::Relaxed));
        if self.now().since(stood_since) >= longest {
            lane.failures = 0;
        }
        let most = self.timing.backoff_min.saturating_mul(1 << lane.failures.min(16)).min(longest);
        lane.not_before = self.now() + most / 2 + self.seams.rng.up_to(most / 2);
        lane.failures = lane.failures.saturating_add(1);
        why.clone_into(&mut lane.why);
        lane.conn = None;
    }

    /// Connects and shakes hands until `deadline`, unless `conn` is closed or all stops.
    async fn dial(
        &self,
        me: &Me,
        target: Target<'_>,
        deadline: Instant,
        conn: &Conn,
    ) -> Result<Met, String> {
        let security = self.security.load_full();
        let dial = within(&*self.seams.clock, deadline, async {
            let stream = self.connect(&security, target.addr, deadline).await?;
            let nonce = self.seams.rng.next_u64();
            let whom = (target.node, target.class);
            let met = handshake::dial(me, &security, stream, whom, nonce).await;
            met.inspect_err(|why| self.decline(target.addr, why))
        });
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Err("the links of this node stop".into()),
            () = watch::until_ended(&*self.seams.clock, conn, None) => {
                Err("this node closed it while it was dialled".into())
            }
            met = dial => met.unwrap_or_else(|_| Err("no answer to the dial in time".into())),
        }
    }

    /// Each address of a host has its share of the time: one that swallows what is sent to it does
    /// not keep this node from the next.
    async fn connect(
        &self,
        security: &Security,
        addr: &str,
        deadline: Instant,
    ) -> Result<Stream, String> {
        let net = &self.seams.net;
        let addrs = net
            .resolve(addr)
            .await
            .map_err(|error| format!("{addr:?} is no known address: {error}"))?;
        let mut why = format!("{addr:?} has no address");
        let count = u32::try_from(addrs.len()).unwrap_or(u32::MAX);
        for (addr, left) in addrs.into_iter().zip((1..=count).rev()) {
            if matches!(security, Security::Insecure) && !addr.ip().is_loopback() {
                why = format!("{addr} is not a loopback address: insecure links need one");
                continue;
            }
            let share = deadline.since(self.now()) / left;
            let connected = within(&*self.seams.clock, self.now() + share, net.connect(addr));
            match connected.await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => why = error.to_string(),
                Err(_) => why = format!("{addr} does not answer"),
            }
        }
        Err(why)
    }

    /// A connection to an address alone, open and running.
    pub(super) async fn dial_loose(
        self: &Arc<Self>,
        addr: &str,
        deadline: Instant,
    ) -> Result<(Arc<Conn>, ClusterId), String> {
        let me = self.me();
        let conn = self.new_conn(Class::Control, Role::Dialled, addr.into());
        let target = Target { addr, node: None, class: Class::Control };
        let deadline = deadline.min(self.now() + self.timing.dial);
        let met = self.dial(&me, target, deadline, &conn).await.inspect_err(|_| {
            count(&self.tally.dials_failed);
        })?;
        let cluster = met.cluster;
        self.adopt(&me, &conn, met).map_err(|why| {
            conn.end(why, false);
            why.to_owned()
        })?;
        count(&self.tally.dialled);
        Ok((conn, cluster))
    }
}

//! How much of each lane is under way: byte credits, and what of it is lost when a link ends. PURE.
//!
//! A connection carries one lane, or [`LANES`] for messages: order holds in a lane, and a full one
//! does not stop the others. The sender may have so many bytes of a lane under way that the
//! receiver has not taken in yet; the receiver says what it took in as totals since the start of
//! the connection, so that a repeated or skipped credit does no harm. The same totals say which
//! tells certainly arrived.
//!
//! Source: credit-based flow control, Kung, Blackwell and Chapman, SIGCOMM 1994; totals instead of
//! increments: HTTP/3 (RFC 9000, 4.1).

/// Lanes of a message connection.
pub const LANES: u8 = 16;
/// A receiver says what it took in of a lane after so many bytes, or with its next pong.
pub(super) const CREDIT_BYTES: u64 = 256 << 10;

/// What a lane has carried since the start of its connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Bytes of frames.
    pub(super) bytes: u64,
    /// Tells among them.
    pub(super) tells: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Outgoing {
    pushed: Totals,
    taken: Totals,
    /// Tells that have not left this node.
    waiting: u64,
}

/// What became of the tells of a lane whose connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaneLoss {
    pub(super) lane: u8,
    /// Never left this node.
    pub(super) unsent: u64,
    /// Left, and may have arrived or not.
    pub(super) unknown: u64,
}

/// The lanes of a connection as their sender sees them.
#[derive(Debug)]
pub(super) struct Sending {
    lanes: Vec<Outgoing>,
    window: u64,
}

impl Sending {
    pub(super) fn new(lanes: u8, window: u64) -> Self {
        Self { lanes: vec![Outgoing::default(); usize::from(lanes.max(1))], window }
    }

    /// The lane meant by `lane`, which may be any number.
    pub(super) fn lane(&self, lane: u8) -> u8 {
        u8::try_from(usize::from(lane) % self.lanes.len()).unwrap_or(0)
    }

    /// Whether a frame of `bytes` may follow now. An empty lane takes any one frame.
    pub(super) fn admits(&self, lane: u8, bytes: u64) -> bool {
        self.lanes.get(usize::from(lane)).is_some_and(|lane| {
            // A credit of a faulty side may name what was taken back since.
            let under_way = lane.pushed.bytes.saturating_sub(lane.taken.bytes);
            under_way == 0 || under_way + bytes <= self.window
        })
    }

    pub(super) fn pushed(&mut self, lane: u8, bytes: u64, is_tell: bool) {
        if let Some(lane) = self.lanes.get_mut(usize::from(lane)) {
            lane.pushed.bytes += bytes;
            lane.pushed.tells += u64::from(is_tell);
            lane.waiting += u64::from(is_tell);
        }
    }

    /// A frame that was pushed, and has not left, will not.
    pub(super) fn unpushed(&mut self, lane: u8, bytes: u64) {
        if let Some(lane) = self.lanes.get_mut(usize::from(lane)) {
            lane.pushed.bytes -= bytes;
        }
    }

    /// All that was pushed has left this node, but for so many tells of the first lane: the large
    /// ones of a control connection.
    pub(super) fn left_but(&mut self, tells: u64) {
        self.lanes.iter_mut().for_each(|lane| lane.waiting = 0);
        if let Some(first) = self.lanes.first_mut() {
            first.waiting = tells;
        }
    }

    /// The receiver has taken in so much of a lane.
    ///
    /// # Errors
    /// It says less than before, or more than was sent: the connection cannot be used further.
    pub(super) fn credit(&mut self, lane: u8, taken: Totals) -> Result<(), String> {
        let wrong = || format!("a credit of {taken:?} for lane {lane}, which cannot be");
        let lane = self.lanes.get_mut(usize::from(lane)).ok_or_else(wrong)?;
        let (least, most) = (lane.taken, lane.pushed);
        let can_be = (least.bytes..=most.bytes).contains(&taken.bytes)
            && (least.tells..=most.tells - lane.waiting).contains(&taken.tells);
        if !can_be {
            return Err(wrong());
        }
        lane.taken = taken;
        Ok(())
    }

    /// Whether the receiver has taken in all.
    pub(super) fn is_settled(&self) -> bool {
        self.lanes.iter().all(|lane| lane.pushed == lane.taken)
    }

    /// What is lost if the connection ends now.
    pub(super) fn losses(&self) -> Vec<LaneLoss> {
        let loss = |(at, lane): (usize, &Outgoing)| LaneLoss {
            lane: u8::try_from(at).unwrap_or(u8::MAX),
            unsent: lane.waiting,
            unknown: lane.pushed.tells.saturating_sub(lane.taken.tells + lane.waiting),
        };
        let any = |loss: &LaneLoss| loss.unsent + loss.unknown > 0;
        self.lanes.iter().enumerate().map(loss).filter(any).collect()
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Incoming {
    taken: Totals,
    said: Totals,
}

/// The lanes of a connection as their receiver sees them.
#[derive(Debug)]
pub(super) struct Receiving {
    lanes: Vec<Incoming>,
}

impl Receiving {
    pub(super) fn new(lanes: u8) -> Self {
        Self { lanes: vec![Incoming::default(); usize::from(lanes.max(1))] }
    }

    /// A frame was taken in. Gives the credit to be said now, if one is due.
    ///
    /// # Errors
    /// There is no such lane: the connection cannot be used further.
    pub(super) fn took(
        &mut self,
        lane: u8,
        bytes: u64,
        is_tell: bool,
    ) -> Result<Option<Totals>, String> {
        let found = self.lanes.get_mut(usize::from(lane));
        let lane = found.ok_or_else(|| format!("there is no lane {lane} here"))?;
        lane.taken.bytes += bytes;
        lane.taken.tells += u64::from(is_tell);
        let due = lane.taken.bytes - lane.said.bytes >= CREDIT_BYTES;
        Ok(due.then(|| {
            lane.said = lane.taken;
            lane.taken
        }))
    }

    /// All credits that were not said yet, by lane; they count as said now.
    pub(super) fn unsaid(&mut self) -> Vec<(u8, Totals)> {
        let mut all = Vec::new();
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if lane.said != lane.taken {
                lane.said = lane.taken;
                all.push((u8::try_from(at).unwrap_or(u8::MAX), lane.taken));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: u64 = 4 * CREDIT_BYTES;

    #[test]
    fn a_full_lane_takes_no_more_until_credit_comes_and_stops_no_other() {
        let (mut out, mut input) = (Sending::new(LANES, WINDOW), Receiving::new(LANES));
        while out.admits(3, 1_000) {
            out.pushed(3, 1_000, true);
        }
        assert!(out.admits(4, 1_000) && !out.admits(3, 1_000));
        out.left_but(0);
        let mut credits = 0;
        for _ in 0..1_048 {
            if let Some(taken) = input.took(3, 1_000, true).expect("a lane") {
                credits += 1;
                out.credit(3, taken).expect("true");
                assert!(out.admits(3, 1_000));
            }
        }
        assert_eq!(credits, 3, "one per {CREDIT_BYTES} bytes");
        assert!(!out.is_settled());
        for (lane, taken) in input.unsaid() {
            out.credit(lane, taken).expect("true");
        }
        assert!(out.is_settled() && out.losses().is_empty() && input.unsaid().is_empty());
        assert!(out.admits(3, 9 * WINDOW), "an empty lane takes any one frame");
    }

    #[test]
    fn credits_that_cannot_be_are_refused() {
        let mut out = Sending::new(2, WINDOW);
        out.pushed(1, 100, true);
        let of = |bytes, tells| Totals { bytes, tells };
        for (lane, taken) in [(2, of(0, 0)), (1, of(101, 0)), (0, of(1, 0)), (1, of(100, 1))] {
            assert!(out.credit(lane, taken).is_err(), "{lane} {taken:?}: it has not left yet");
        }
        out.left_but(0);
        out.credit(1, of(100, 1)).expect("true");
        assert!(out.credit(1, of(99, 1)).is_err(), "less than before");
        assert!(Receiving::new(1).took(1, 1, false).is_err());
    }

    proptest! {
        /// Of all tells accepted, those that arrived and those reported lost are all, and what is
        /// reported unsent never arrived.
        #[test]
        fn every_tell_arrives_or_is_reported(
            steps in prop::collection::vec((0..4_u8, 0..LANES, 1..100_000_u64), 1..300),
        ) {
            let (mut out, mut input) = (Sending::new(LANES, WINDOW), Receiving::new(LANES));
            let (mut buffer, mut wire) = (Vec::new(), std::collections::VecDeque::new());
            let (mut accepted, mut arrived) = (0, 0);
            for (step, lane, bytes) in steps {
                match step {
                    0 | 1 if out.admits(lane, bytes) => {
                        out.pushed(lane, bytes, true);
                        buffer.push((lane, bytes));
                        accepted += 1;
                    }
                    2 => {
                        wire.extend(buffer.drain(..));
                        out.left_but(0);
                    }
                    _ => {
                        if let Some((lane, bytes)) = wire.pop_front() {
                            arrived += 1;
                            if let Some(taken) = input.took(lane, bytes, true).expect("a lane") {
                                out.credit(lane, taken).expect("true");
                            }
                        }
                    }
                }
            }
            let losses = out.losses();
            let unsent: u64 = losses.iter().map(|loss| loss.unsent).sum();
            let unknown: u64 = losses.iter().map(|loss| loss.unknown).sum();
            prop_assert_eq!(unsent, buffer.len() as u64);
            prop_assert!(unknown >= wire.len() as u64, "what is on the wire may be lost");
            prop_assert!(accepted <= arrived + unsent + unknown);
            prop_assert!(arrived + wire.len() as u64 + unsent == accepted);
        }
    }
}

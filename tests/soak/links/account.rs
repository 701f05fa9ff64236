//! What a node has sent and received, and whether the two of both sides fit together.

use std::collections::BTreeMap;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use evertree::transport::LANES;
use serde::{Deserialize, Serialize};

/// Faults that are told in full.
const EXAMPLES_MAX: usize = 5;
/// Every so many asks one is refused, and one is dropped, by whoever is asked.
const REFUSED_EVERY: u64 = 16;
const DROPPED_EVERY: u64 = 64;

/// Room for the numbers of ten minutes, made at once: what this test keeps for itself is not to
/// look like growth of the links.
const WORDS_MIN: usize = 4_096;
/// Rows of passed over numbers that are remembered of a lane: those of the last minutes. What
/// belongs to an older one counts as received twice, which is a fault all the same.
const ROWS_MAX: usize = 64;

/// A set of small numbers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Adds `number`; whether it was new.
    fn add(&mut self, number: u64) -> bool {
        let word = usize::try_from(number / 64).expect("a number of this run");
        let bit = 1 << (number % 64);
        if self.0.len() <= word {
            self.0.resize((word + 1).max(WORDS_MIN), 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    /// How many numbers are in both.
    fn common(&self, other: &Self) -> u64 {
        self.0.iter().zip(&other.0).map(|(a, b)| u64::from((a & b).count_ones())).sum()
    }
}

/// The first few faults of a kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Faults {
    pub(super) count: u64,
    pub(super) examples: Vec<String>,
}

impl Faults {
    pub(super) fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }
}

/// The body of the message `number` of its lane: 8 to 64 bytes, all of which follow from it.
pub(super) fn body_of(number: u64) -> Bytes {
    let [mixed, ..] = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let filler = usize::from(mixed) % 57;
    let mut body = BytesMut::with_capacity(8 + filler);
    body.put_u64(number);
    body.put_bytes(mixed, filler);
    body.freeze()
}

/// The number of a message, if its body is what it was sent as.
fn number_of(body: &Bytes) -> Option<u64> {
    let mut rest = body.clone();
    let number = (rest.len() >= 8).then(|| rest.get_u64())?;
    (body_of(number) == body).then_some(number)
}

/// What comes of an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    Refused,
    Dropped,
}

/// What whoever is asked does with the ask `number`.
pub(super) const fn fate_of(number: u64) -> Fate {
    if number % DROPPED_EVERY == 9 {
        Fate::Dropped
    } else if number % REFUSED_EVERY == 5 {
        Fate::Refused
    } else {
        Fate::Answered
    }
}

/// The answer to the ask `number`, also the reason of its refusal.
pub(super) fn answer_to(number: u64) -> Bytes {
    Bytes::copy_from_slice(&(!number).to_be_bytes())
}

/// What was received of one lane.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Got {
    pub(super) tells: u64,
    pub(super) asks: u64,
    last: u64,
    /// Numbers that were passed over, as first and last of each row of them.
    missing: BTreeMap<u64, u64>,
    pub(super) twice: Faults,
    pub(super) late: Faults,
    pub(super) garbage: Faults,
    seen_asks: Bits,
}

impl Got {
    /// The other side sent a tell.
    pub(super) fn tell(&mut self, body: &Bytes) {
        let Some(number) = number_of(body) else {
            self.garbage.add(|| format!("a tell of {body:?}"));
            return;
        };
        self.tells += 1;
        if number > self.last {
            if number > self.last + 1 {
                self.missing.insert(self.last + 1, number - 1);
                if self.missing.len() > ROWS_MAX {
                    self.missing.pop_first();
                }
            }
            self.last = number;
            return;
        }
        let last = self.last;
        let row = self.missing.range(..=number).next_back().map(|(from, to)| (*from, *to));
        let Some((from, to)) = row.filter(|(_, to)| number <= *to) else {
            self.twice.add(|| format!("{number} again, after {last}"));
            return;
        };
        self.late.add(|| format!("{number} after {last}"));
        self.missing.remove(&from);
        if from < number {
            self.missing.insert(from, number - 1);
        }
        if number < to {
            self.missing.insert(number + 1, to);
        }
    }

    /// The other side asks; its number.
    pub(super) fn ask(&mut self, body: &Bytes) -> Option<u64> {
        let Some(number) = number_of(body) else {
            self.garbage.add(|| format!("an ask of {body:?}"));
            return None;
        };
        self.asks += 1;
        if !self.seen_asks.add(number) {
            self.twice.add(|| format!("ask {number} again"));
        }
        Some(number)
    }
}

/// What became of the asks of one lane.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Asks {
    pub(super) begun: u64,
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
    pub(super) not_executed: u64,
    /// The asker went away before it was answered.
    pub(super) abandoned: u64,
    pub(super) wrong: Faults,
    never_left: Bits,
}

impl Asks {
    pub(super) fn not_executed(&mut self, number: u64) {
        self.not_executed += 1;
        self.never_left.add(number);
    }

    const fn ended(&self) -> u64 {
        self.answered + self.refused + self.unknown + self.not_executed + self.abandoned
    }
}

/// What was sent in one lane.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Sent {
    /// Tells that were taken by the links.
    pub(super) accepted: u64,
    /// Tells that were not: there was no way, or no room in time.
    pub(super) unreachable: u64,
    pub(super) overloaded: u64,
    /// Reported lost.
    pub(super) unsent: u64,
    pub(super) unknown: u64,
    pub(super) asks: Asks,
}

/// What happened to a node's connections.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Connections {
    pub(super) dialled: u64,
    pub(super) dials_failed: u64,
    pub(super) broken: u64,
    pub(super) resumed: u64,
    pub(super) losses: u64,
}

/// All of one node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) sent: Vec<Sent>,
    pub(super) got: Vec<Got>,
    /// Large asks on the control connection.
    pub(super) control: Asks,
    pub(super) connections: Connections,
}

/// One way between two nodes.
#[derive(Debug, Default)]
pub(super) struct Way {
    pub(super) accepted: u64,
    pub(super) received: u64,
    pub(super) unsent: u64,
    pub(super) unknown: u64,
    pub(super) asked: u64,
    pub(super) asks: Asks,
    pub(super) refused: u64,
    pub(super) late: u64,
    pub(super) twice: u64,
}

impl Way {
    /// All that was received on it.
    pub(super) const fn messages(&self) -> u64 {
        self.received + self.asked
    }
}

/// Compares what `from` has sent with what `to` has received; adds to `broken` every rule that does
/// not hold.
pub(super) fn judge(name: &str, from: &Account, to: &Account, broken: &mut Vec<String>) -> Way {
    let mut way = Way::default();
    let lanes = usize::from(LANES);
    if (from.sent.len(), to.got.len()) != (lanes, lanes) {
        broken.push(format!("{name}: not {lanes} lanes"));
    }
    for (at, (sent, got)) in from.sent.iter().zip(&to.got).enumerate() {
        let mut fault = |what: String| broken.push(format!("{name}, lane {at}: {what}"));
        for (what, faults) in [
            ("received twice", &got.twice),
            ("received after later ones", &got.late),
            ("not what was sent", &got.garbage),
            ("wrong outcomes of asks", &sent.asks.wrong),
        ] {
            if faults.count > 0 {
                fault(format!("{} {what}: {:?}", faults.count, faults.examples));
            }
        }
        judge_lane(sent, got, &mut fault);
        way.accepted += sent.accepted;
        way.received += got.tells;
        way.unsent += sent.unsent;
        way.unknown += sent.unknown;
        way.asked += got.asks;
        way.refused += sent.unreachable + sent.overloaded;
        way.late += got.late.count;
        way.twice += got.twice.count;
        add(&mut way.asks, &sent.asks);
    }
    let control = &from.control;
    if control.begun != control.ended() || control.wrong.count > 0 {
        broken.push(format!("{name}, control: {control:?}"));
    }
    way
}

fn judge_lane(sent: &Sent, got: &Got, fault: &mut impl FnMut(String)) {
    let Sent { accepted, unsent, unknown, asks, .. } = sent;
    let reported = unsent + unknown;
    match accepted.checked_sub(got.tells) {
        None => fault(format!("{} received of {accepted}", got.tells)),
        Some(missing) if missing > reported => {
            fault(format!("{missing} tells are missing, and {reported} were reported"));
        }
        Some(missing) if missing < *unsent => {
            fault(format!("{missing} tells are missing, and {unsent} had never left"));
        }
        Some(_) => {}
    }
    if asks.begun != asks.ended() {
        fault(format!("{} asks begun, {} ended", asks.begun, asks.ended()));
    }
    let executed = asks.never_left.common(&got.seen_asks);
    if executed > 0 {
        fault(format!("{executed} asks arrived that were reported as never sent"));
    }
    if got.asks < asks.answered + asks.refused {
        fault(format!("{} asks arrived, {} had an answer", got.asks, asks.answered));
    }
}

pub(super) fn add(to: &mut Asks, asks: &Asks) {
    to.begun += asks.begun;
    to.answered += asks.answered;
    to.refused += asks.refused;
    to.unknown += asks.unknown;
    to.not_executed += asks.not_executed;
    to.abandoned += asks.abandoned;
}

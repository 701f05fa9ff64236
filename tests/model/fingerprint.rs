//! How states are hashed: eight small fields in one word.
//!
//! A derived `Hash` writes every byte alone, which is a third of the whole run where the compiler
//! does not optimise. Every field is named, so that none can be forgotten.

use std::hash::{Hash, Hasher};

use super::state::{
    Budget, History, Node, Office, Primary, Proposed, Renew, State, Store, Turn, View,
};

fn word<H: Hasher>(bytes: [u8; 8], to: &mut H) {
    to.write_u64(u64::from_le_bytes(bytes));
}

impl Hash for State {
    fn hash<H: Hasher>(&self, to: &mut H) {
        let Self { view, nodes, stores, destroyed, office, history, left } = self;
        view.hash(to);
        for node in nodes {
            node.hash(to);
        }
        for store in stores {
            store.hash(to);
        }
        office.hash(to);
        history.hash(to);
        left.hash(to);
        to.write_u8(*destroyed);
    }
}

impl Hash for View {
    fn hash<H: Hasher>(&self, to: &mut H) {
        let Self {
            version,
            epoch,
            owner,
            in_sync,
            generation,
            has_records,
            lost,
            moving,
            previous,
            boots,
            second,
            length,
        } = *self;
        let flags = u8::from(has_records) | u8::from(lost) << 1;
        word([version, epoch, owner, in_sync, generation, flags, moving, previous], to);
        word([boots[0], boots[1], boots[2], second, length as u8, 0, 0, 0], to);
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, to: &mut H) {
        let Self {
            up,
            boot,
            fresh,
            second,
            seen,
            lease,
            renew,
            primary,
            pending,
            flight,
            turn,
            queue,
            released,
        } = *self;
        seen.hash(to);
        let flags = u8::from(up) | u8::from(fresh) << 1 | u8::from(second) << 2;
        let [asked, age, length, version] = match renew {
            Renew::Idle => [0; 4],
            Renew::Sent { age } => [1, age, 0, 0],
            Renew::Granted { age, lease, version } => [2, age, lease, version],
        };
        word([flags, boot, lease, asked, age, length, version, queue], to);
        let Primary { phase, acked, sealed, live, held } = primary;
        word([phase as u8, acked, sealed, live, held[0], held[1], held[2], held[3]], to);
        let [epoch, saw] = turn.map_or([0; 2], |Turn { epoch, saw }| [epoch, saw]);
        word([held[4], held[5], released, u8::from(turn.is_some()), epoch, saw, 0, 0], to);
        let (one, two) = (proposed(pending), proposed(flight));
        word([one[0], one[1], one[2], one[3], two[0], two[1], two[2], two[3]], to);
    }
}

fn proposed(change: Option<Proposed>) -> [u8; 4] {
    let Some(Proposed { kind, store, epoch, generation }) = change else { return [0; 4] };
    [1 + kind as u8, store, epoch, generation]
}

impl Hash for Store {
    fn hash<H: Hasher>(&self, to: &mut H) {
        let Self { sealed, log, len, acked } = *self;
        word([sealed, log[0], log[1], log[2], len, acked, 0, 0], to);
    }
}

impl Hash for Office {
    fn hash<H: Hasher>(&self, to: &mut H) {
        let Self { leader, ready, first, expiry, marks, evicts, kept, settling } = *self;
        let ready = u8::from(ready);
        word([leader, ready, first, expiry[0], expiry[1], expiry[2], marks, evicts], to);
        word([kept[0], kept[1], kept[2], settling, 0, 0, 0, 0], to);
    }
}

impl Hash for History {
    fn hash<H: Hasher>(&self, to: &mut H) {
        let Self { numbered, epochs, acked, runs, stale, unheard, backwards } = *self;
        let flags = u8::from(stale) | u8::from(unheard) << 1 | u8::from(backwards) << 2;
        word([numbered, epochs[0], epochs[1], epochs[2], acked, runs, flags, 0], to);
    }
}

impl Hash for Budget {
    fn hash<H: Hasher>(&self, to: &mut H) {
        let Self {
            elections,
            marks,
            joins,
            crashes,
            losses,
            changes,
            writes,
            turns,
            moves,
            lengths,
        } = *self;
        word([elections, marks, joins, crashes, losses, changes, writes, turns], to);
        word([moves, lengths, 0, 0, 0, 0, 0, 0], to);
    }
}

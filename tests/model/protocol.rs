//! The model: what a state may become, and what must hold in all of them.

use stateright::{Model, Property};

use super::action::Action;
use super::guard::Config;
use super::state::{
    History, NODES, Node, Office, Phase, Primary, Renew, STORES, State, Store, View, has,
};
use super::{lease, members, moves, owner, properties};

/// Three nodes, one shard, one message in a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Protocol(pub(crate) Config);

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![first(&self.0)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        lease::actions(&self.0, state, actions);
        members::actions(&self.0, state, actions);
        owner::actions(&self.0, state, actions);
        moves::actions(&self.0, state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        let config = &self.0;
        match action {
            Action::Lease(step) => lease::next(config, &mut next, step),
            Action::Member(step) => members::next(config, &mut next, step),
            Action::Owner(step) => owner::next(config, &mut next, step),
            Action::Move(step) => moves::next(&mut next, step),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(&self.0)
    }
}

/// A formed cluster: node 0 owns the shard and leads; every lease was just granted.
fn first(config: &Config) -> State {
    let view = View {
        version: 1,
        epoch: 1,
        owner: 0,
        in_sync: config.in_sync,
        generation: 1,
        has_records: config.has_records,
        boots: [1; NODES as usize],
        ..View::NONE
    };
    let lease = config.lengths[0];
    let node = Node {
        up: true,
        boot: 1,
        fresh: false,
        second: false,
        seen: view,
        lease,
        renew: Renew::Idle,
        primary: Primary::IDLE,
        pending: None,
        flight: None,
        turn: None,
        queue: 0,
        released: 0,
    };
    let mut state = State {
        view,
        nodes: [node; NODES as usize],
        stores: [Store::default(); STORES as usize],
        destroyed: 0,
        office: Office { ready: true, expiry: [lease; NODES as usize], ..Office::default() },
        history: History::default(),
        left: config.budget,
    };
    let bare = !config.has_records && config.keeps(super::guard::Guard::HasRecordsFirst);
    let primary = &mut state.nodes[0].primary;
    if bare {
        primary.phase = Phase::Bare;
    } else {
        primary.phase = Phase::Serving;
        (primary.sealed, primary.live) = (config.in_sync, config.in_sync);
        for store in (0..STORES).filter(|&store| has(config.in_sync, store)) {
            state.stores[usize::from(store)].sealed = 1;
        }
    }
    state.nodes[0].queue = u8::from(config.queue);
    state
}

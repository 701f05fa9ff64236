//! Whom a Renew is sent to. PURE.

use crate::base::NodeId;

/// Whose turn it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn {
    next: usize,
    /// Through whom the last grant came.
    last_good: Option<NodeId>,
    asked: Option<NodeId>,
}

impl Turn {
    /// A grant came back from `node`.
    pub(super) fn granted(&mut self, node: &NodeId) {
        self.last_good = Some(node.clone());
    }

    /// The one to ask: in the first attempt of a round who leads as far as is known, else through
    /// whom the last grant came; then the voters in turn, for any of them passes the request on.
    /// This node itself would only ask the leader as the first attempt did.
    pub(super) fn target(
        &mut self,
        attempt: u32,
        hint: Option<NodeId>,
        voters: &[NodeId],
        me: &NodeId,
    ) -> NodeId {
        let may_ask = |node: &NodeId| voters.is_empty() || voters.contains(node);
        let known = match attempt {
            // What a node that does not vote has heard of the leader may be long past.
            0 if may_ask(me) => hint.or_else(|| self.last_good.clone()),
            0 => self.last_good.clone().or(hint),
            _ => None,
        };
        let chosen = known.filter(may_ask).or_else(|| self.next_of(attempt, voters, me));
        let chosen = chosen.unwrap_or_else(|| me.clone());
        self.asked = Some(chosen.clone());
        chosen
    }

    /// The next of the voters, round and round: each comes before one comes again, however many
    /// attempts a round has.
    fn next_of(&mut self, attempt: u32, voters: &[NodeId], me: &NodeId) -> Option<NodeId> {
        let is_new =
            |node: &NodeId| attempt == 0 || (node != me && self.asked.as_ref() != Some(node));
        let from = self.next;
        let step = (1..=voters.len()).find(|step| is_new(&voters[(from + step) % voters.len()]))?;
        self.next = (from + step) % voters.len();
        voters.get(self.next).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<NodeId> {
        names.iter().map(|name| name.parse().expect("a name")).collect()
    }

    /// The targets of one round.
    fn round(turn: &mut Turn, hint: Option<&str>, voters: &[&str], me: &str) -> Vec<String> {
        let (voters, me) = (names(voters), me.parse().expect("a name"));
        let hint: Option<NodeId> = hint.map(|name| name.parse().expect("a name"));
        let target = |attempt| turn.target(attempt, hint.clone(), &voters, &me).to_string();
        (0..4).map(target).collect()
    }

    #[test]
    fn a_voter_asks_the_leader_first_and_then_each_of_the_others() {
        let mut turn = Turn::default();
        let asked = round(&mut turn, Some("n1"), &["n1", "n2", "n3", "n4", "n5"], "n2");
        assert_eq!(asked[0], "n1");
        assert!(asked[1..].iter().any(|to| ["n3", "n4", "n5"].contains(&to.as_str())));
        assert!(!asked.contains(&"n2".into()), "itself would ask the leader again: {asked:?}");
        for pair in asked.windows(2) {
            assert_ne!(pair[0], pair[1], "who has not answered is not asked next: {asked:?}");
        }
    }

    /// However a cut lies, some way round it is tried in each round of three voters.
    #[test]
    fn with_three_voters_every_round_asks_the_one_that_does_not_lead() {
        let mut turn = Turn::default();
        for _ in 0..10 {
            let asked = round(&mut turn, Some("n1"), &["n1", "n2", "n3"], "n2");
            assert!(asked[1..].contains(&"n3".into()), "{asked:?}");
        }
    }

    /// Under a bridge of five one voter alone passes on what the outermost one asks.
    #[test]
    fn with_five_voters_two_rounds_ask_every_one() {
        let voters = ["n1", "n2", "n3", "n4", "n5"];
        for (leader, me) in [("n3", "n1"), ("n2", "n1"), ("n1", "n5"), ("n5", "n9")] {
            let mut turn = Turn::default();
            for _ in 0..10 {
                let mut asked = round(&mut turn, Some(leader), &voters, me);
                asked.extend(round(&mut turn, Some(leader), &voters, me));
                for voter in voters.into_iter().filter(|voter| *voter != me) {
                    assert!(asked.contains(&voter.into()), "{voter} was not asked: {asked:?}");
                }
            }
        }
    }

    #[test]
    fn a_lease_client_goes_to_whom_its_last_grant_came_from_and_from_voter_to_voter_else() {
        let mut turn = Turn::default();
        let voters = ["n1", "n2", "n3"];
        let asked = round(&mut turn, None, &voters, "n9");
        assert!(voters.iter().all(|voter| asked.contains(&(*voter).into())), "{asked:?}");
        turn.granted(&names(&["n3"])[0]);
        // What it heard of a leader when it voted itself is older.
        assert_eq!(round(&mut turn, Some("n1"), &voters, "n9")[0], "n3");
        // n3 votes no more.
        assert_eq!(round(&mut turn, Some("n1"), &["n1", "n2"], "n9")[0], "n1");
    }

    #[test]
    fn alone_or_knowing_no_voter_it_asks_itself() {
        let mut turn = Turn::default();
        assert_eq!(round(&mut turn, None, &[], "n1"), ["n1"; 4]);
        assert_eq!(round(&mut turn, Some("n1"), &["n1"], "n1"), ["n1"; 4]);
    }
}

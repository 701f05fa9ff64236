//! Goal: nothing acknowledged is lost, and nothing is there by halves. Method: random ops until the
//! disk fails, the process dies or the power fails at a random operation; then open and compare
//! with the two states that are possible: without the op that failed, and with it.

use super::model::Model;
use super::*;
use crate::base::Rng;

const SEEDS: u64 = 80;
const LIVES: u64 = 4;

#[test]
fn a_crash_loses_nothing_acknowledged_and_tears_nothing() {
    let (mut failed, mut survived, mut acknowledged) = (0, 0, 0);
    for seed in 0..SEEDS {
        let rng = SeededRng::new(seed);
        let disk = disk();
        let mut certain = Model::new();
        let mut fresh = 0;
        for life in 0..LIVES {
            let arm = |disk: &SimDisk| match rng.next_u64() % 3 {
                0 => disk.fail_write_after(rng.next_u64() % 120),
                1 => disk.fail_sync_after(rng.next_u64() % 40),
                _ => {}
            };
            // Opening fails as well, sometimes.
            if life > 0 && rng.next_u64().is_multiple_of(4) {
                arm(&disk);
                drop(open(&disk));
                disk.power_loss(&rng);
            }
            let store = open(&disk).expect("a store opens after any crash");
            assert!(certain.holds(&store), "seed {seed}, life {life}");
            arm(&disk);
            let mut unknown = None;
            for _ in 0..rng.next_u64() % 30 {
                let op = if certain.head.sealed == Epoch::NONE {
                    Op::Seal { shard: S, epoch: Epoch(1) }
                } else {
                    certain.random_op(&rng, &mut fresh)
                };
                let mut with = certain.clone();
                let expected = with.apply(&op);
                match block_on(store.apply(vec![op])) {
                    Ok(results) => {
                        assert_eq!(results[0].is_done(), expected);
                        certain = with;
                        acknowledged += 1;
                    }
                    Err(error) => {
                        assert!(error.is_fatal());
                        assert!(store.head(S).is_err(), "nothing is told after a failure");
                        unknown = Some(with);
                        failed += 1;
                        break;
                    }
                }
            }
            if rng.next_u64().is_multiple_of(4) {
                disk.kill();
            } else {
                disk.power_loss(&rng);
            }
            drop(store);
            let store = open(&disk).expect("a store opens after any crash");
            if let Some(with) = unknown
                && !certain.holds(&store)
            {
                assert!(with.holds(&store), "torn: seed {seed}, life {life}");
                certain = with;
                survived += 1;
            }
            assert!(certain.holds(&store), "lost: seed {seed}, life {life}");
        }
    }
    println!("{acknowledged} acknowledged, {failed} failed, {survived} of them survived");
    assert!(failed > 50 && acknowledged > 1000, "{failed} failed, {acknowledged} acknowledged");
}

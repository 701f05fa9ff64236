//! Which start of its process a file of a data directory has seen last.
//!
//! Each file that holds promises counts the starts that were begun with it, and the facts keep the
//! same count beside it. A start writes the next number into the file first, then into the facts.
//! So the facts never know more than the file that was there, wherever the process ends; if they do
//! know more, the file is a copy from before. A file that was never counted says 0, and so do the
//! facts of one that they do not know.
//!
//! Not noticed: a copy made since the last start, and one that comes back with its facts.

use std::fmt;

use super::store::DATA_FILE;
use crate::base::StoreId;

/// A file whose starts the facts count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Log and vote of the voter.
    Raft,
    /// The records of this store. Another store in its place is another file.
    Store(StoreId),
}

impl Counted {
    /// Under which the facts keep its number.
    pub(super) fn key(self) -> String {
        match self {
            Self::Raft => "raft".into(),
            Self::Store(StoreId(id)) => format!("store {id:032x}"),
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raft => "raft.redb",
            Self::Store(_) => DATA_FILE,
        })
    }
}

/// A file is older than the rest of its directory: what was promised with it since is not in it.
/// Next: put back the one that was there last, or start with an empty directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file} is older than the rest of the data directory: it was there at start {seen} of its \
     node, and start {known} wrote into it"
)]
pub struct Older {
    /// Which.
    pub(crate) file: Counted,
    /// What the file says.
    pub(crate) seen: u64,
    /// What the facts say of it.
    pub(crate) known: u64,
}

impl Older {
    /// Refuses a `file` that says `seen` where the facts say `known`.
    pub(crate) fn check(file: Counted, seen: u64, known: u64) -> Result<(), Self> {
        if seen < known { Err(Self { file, seen, known }) } else { Ok(()) }
    }
}

/// The number of the start that begins. It is above both, for the facts may be behind the file, or
/// new.
pub(crate) fn next_start(seen: u64, known: u64) -> u64 {
    seen.max(known).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a directory says of one file.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Both {
        file: u64,
        facts: u64,
    }

    /// A start that is not refused, and ends after `writes` of its two writes.
    fn start(mut both: Both, writes: u8) -> Result<Both, Older> {
        Older::check(Counted::Raft, both.file, both.facts)?;
        let next = next_start(both.file, both.facts);
        if writes > 0 {
            both.file = next;
        }
        if writes > 1 {
            both.facts = next;
        }
        Ok(both)
    }

    #[test]
    fn a_file_from_before_the_last_start_is_older_and_no_other_is() {
        let file = Counted::Store(StoreId(7));
        assert_eq!(Older::check(file, 0, 0), Ok(()), "made before there were numbers");
        assert_eq!(Older::check(file, 5, 5), Ok(()));
        assert_eq!(Older::check(file, 6, 5), Ok(()), "it ended between the two writes");
        assert_eq!(Older::check(file, 9, 0), Ok(()), "new facts");
        let older = Older { file, seen: 4, known: 5 };
        assert_eq!(Older::check(file, 4, 5), Err(older));
        let said = "data.redb is older than the rest of the data directory: it was there at start \
                    4 of its node, and start 5 wrote into it";
        assert_eq!(older.to_string(), said);
        assert!(Older::check(Counted::Raft, 0, 1).is_err(), "from before there were numbers");
    }

    /// Goal: wherever starts end, the directory's own file is never refused, and one from before
    /// the last whole start always is. Method: every way in which six starts can end.
    #[test]
    fn wherever_a_start_ends_its_own_file_is_taken_and_an_earlier_one_is_not() {
        for way in 0..3_u32.pow(6) {
            let (mut both, mut before) = (Both { file: 0, facts: 0 }, Vec::new());
            for at in 0..6 {
                let writes = u8::try_from(way / 3_u32.pow(at) % 3).expect("it is below 3");
                let earlier = both.file;
                both = start(both, writes).expect("its own file");
                if writes == 2 {
                    before.push(earlier);
                }
                for &file in &before {
                    assert!(start(Both { file, ..both }, 2).is_err(), "way {way}, {file}");
                }
            }
        }
    }

    #[test]
    fn each_store_and_the_log_are_counted_apart() {
        let keys = [Counted::Raft, Counted::Store(StoreId(1)), Counted::Store(StoreId(2))];
        let mut keys = keys.map(Counted::key).to_vec();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 3);
    }
}

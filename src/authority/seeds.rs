//! Where other nodes may be found: a list, names that stand for many nodes, and a file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::base::{Instant, Seams, is_host_port, within};

/// Addresses asked of each sort: those that seeds resolve to, and those that others told of. Also
/// the most seeds in a list or a file.
pub const ADDRESSES_MAX: usize = 64;

/// Largest file of seeds, in bytes: twice as many of the longest names as are used.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Where a node looks for others. All of it is looked at anew in each round of questions, so it is
/// enough if a name or a file tells of them later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seeds {
    /// `host:port` each; every address of a name is asked.
    pub list: Vec<String>,
    /// More of them, one in a line.
    pub file: Option<PathBuf>,
}

/// Why a file of seeds is not used. Nothing of it is, so that half a file is never taken for one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeedsFileError {
    /// It is not there, or cannot be read. Next: it is read again in the next round.
    #[error("{}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        why: String,
    },
    /// Something in it is no address, or there are too many. Next: a person mends it.
    #[error("{}, line {line}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What stands there.
        what: String,
    },
}

/// The addresses in a file: one `host:port` in a line; empty lines, and what follows a `#`, are
/// passed over. At most 64 addresses in at most 64 KiB.
///
/// # Errors
/// [`SeedsFileError`].
pub fn read_seeds(path: &Path) -> Result<Vec<String>, SeedsFileError> {
    let unreadable = |why: &dyn std::fmt::Display| SeedsFileError::Unreadable {
        path: path.into(),
        why: why.to_string(),
    };
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let is_file = file.metadata().map_err(|error| unreadable(&error))?.is_file();
    if !is_file {
        // A pipe would not end.
        return Err(unreadable(&"it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    let malformed =
        |line, what: String| Err(SeedsFileError::Malformed { path: path.into(), line, what });
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let line = bytes.split(|byte| *byte == b'\n').count();
        return malformed(line, format!("more than {FILE_BYTES_MAX} bytes"));
    }
    let mut seeds = Vec::new();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let text = String::from_utf8_lossy(line);
        let seed = text.split('#').next().unwrap_or_default().trim();
        if seed.is_empty() {
            continue;
        }
        if !is_host_port(seed) {
            return malformed(number, format!("{:?}", seed.chars().take(80).collect::<String>()));
        }
        if seeds.len() == ADDRESSES_MAX {
            return malformed(number, format!("more than {ADDRESSES_MAX} addresses"));
        }
        seeds.push(seed.to_owned());
    }
    Ok(seeds)
}

impl Seeds {
    /// All addresses that are to be asked now, at most [`ADDRESSES_MAX`], `own` left out; and in
    /// words what could not be found. Waits for names until `deadline`.
    pub(super) async fn look_up(
        &self,
        seams: &Seams,
        own: &str,
        deadline: Instant,
    ) -> (BTreeSet<SocketAddr>, Vec<String>) {
        let mut unknown = Vec::new();
        let mut seeds: BTreeSet<String> = self.list.iter().cloned().collect();
        match self.file.as_deref().map(read_seeds) {
            Some(Ok(more)) => seeds.extend(more),
            Some(Err(error)) => unknown.push(error.to_string()),
            None => {}
        }
        seeds.remove(own);
        let resolved = seeds.iter().map(|seed| async move {
            match within(&*seams.clock, deadline, seams.net.resolve(seed)).await {
                Ok(Ok(addrs)) if addrs.is_empty() => Err(format!("{seed} has no address")),
                Ok(Ok(addrs)) => Ok(addrs),
                Ok(Err(error)) => Err(format!("{seed} is no known address: {error}")),
                Err(_) => Err(format!("{seed} is not resolved in time")),
            }
        });
        let mut found = BTreeSet::new();
        let mut left_out = 0;
        for addrs in futures::future::join_all(resolved).await {
            match addrs {
                Ok(addrs) => {
                    for addr in addrs {
                        if found.len() < ADDRESSES_MAX || found.contains(&addr) {
                            found.insert(addr);
                        } else {
                            left_out += 1;
                        }
                    }
                }
                Err(why) => unknown.push(why),
            }
        }
        if left_out > 0 {
            unknown.push(format!(
                "the seeds stand for more than {ADDRESSES_MAX} addresses: {left_out} are not asked"
            ));
        }
        (found, unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<String>, SeedsFileError> {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("seeds");
        std::fs::write(&path, bytes).expect("it is written");
        read_seeds(&path)
    }

    #[test]
    fn a_file_has_one_address_in_a_line() {
        let text = b"# first\n\n n1:1 # the oldest\r\n[::1]:2\n10.0.0.3:3";
        assert_eq!(read(text).expect("it is one"), ["n1:1", "[::1]:2", "10.0.0.3:3"]);
        assert_eq!(read(b"").expect("it is one"), [""; 0]);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_told_with_its_line() {
        let many = "n1:1\n".repeat(ADDRESSES_MAX + 1);
        let long = "#".repeat(70_000);
        let table: [(&[u8], &str); 6] = [
            (b"n1:1\nn2", "line 2: \"n2\""),
            (b"n1:1,n2:1", "line 1: \"n1:1,n2:1\""),
            (b"\xff\xfe:1", "line 1: \""),
            (b"n1:0", "line 1: \"n1:0\""),
            (many.as_bytes(), "line 65: more than 64 addresses"),
            (long.as_bytes(), "more than 65536 bytes"),
        ];
        for (bytes, says) in table {
            let error = read(bytes).expect_err(says);
            assert!(matches!(error, SeedsFileError::Malformed { .. }), "{error:?}");
            assert!(error.to_string().contains(says), "{says}: {error}");
        }
    }

    #[test]
    fn what_is_no_file_is_unreadable() {
        let place = tempfile::tempdir().expect("a directory");
        for path in [place.path().to_owned(), place.path().join("none"), "/dev/zero".into()] {
            let error = read_seeds(&path).expect_err("no file");
            assert!(matches!(error, SeedsFileError::Unreadable { .. }), "{error:?}");
            assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
        }
    }
}

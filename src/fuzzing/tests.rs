use std::fs;
use std::path::PathBuf;

use super::*;

fn corpus(target: Target) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name());
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("a file").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read(&path).expect("it can be read"))
    };
    entries.map(file).collect()
}

#[test]
fn the_stored_corpus_is_read_or_refused_without_a_panic() {
    let mut bytes_stored = 0;
    for target in Target::ALL {
        let (mut read, mut refused) = (0, 0);
        for (name, bytes) in corpus(target) {
            bytes_stored += bytes.len();
            // With the name of the file, should it panic.
            let done = std::panic::catch_unwind(|| decode(target, &bytes));
            let is_read = done.unwrap_or_else(|_| panic!("{} panics on {name}", target.name()));
            assert!(is_read || !name.starts_with("golden-"), "{}: {name}", target.name());
            if is_read { read += 1 } else { refused += 1 }
        }
        assert!(read > 0 && refused > 0, "{}: {read} read, {refused} not", target.name());
    }
    assert!(bytes_stored < 300 << 10, "{bytes_stored} bytes");
}

/// Each seed cut short, with more behind it, or with one bit turned, at every place.
#[test]
fn spoilt_seeds_are_read_or_refused_without_a_panic() {
    for target in Target::ALL {
        let golden = corpus(target).into_iter().filter(|(name, _)| name.starts_with("golden-"));
        for (name, seed) in golden {
            let step = seed.len().div_ceil(100).max(1);
            for place in (0..seed.len()).step_by(step) {
                for bit in 0..8 {
                    let mut spoilt = seed.clone();
                    spoilt[place] ^= 1 << bit;
                    let _ = decode(target, &spoilt);
                }
                let cut = decode(target, &seed[..place]);
                // Of the others a piece is something else, or a smaller one of the same.
                let whole = matches!(target, Target::Greeting | Target::View | Target::Data);
                assert!(!cut || !whole, "{}: {name}, cut at {place}", target.name());
            }
        }
    }
}

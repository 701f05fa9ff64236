//! Kept texts of reports. `EVERTREE_BLESS=1` writes them anew; the difference is to be read.

use std::fs;
use std::path::PathBuf;

/// Compares `text` with the file `name` beside this one.
#[track_caller]
pub(super) fn golden(name: &str, text: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/observe/golden");
    let path = folder.join(name);
    if std::env::var_os("EVERTREE_BLESS").is_some() {
        fs::create_dir_all(&folder).expect("it can be made");
        fs::write(&path, text).expect("it can be written");
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    for (line, (is, was)) in (1..).zip(text.lines().zip(kept.lines())) {
        assert_eq!(is, was, "{name}:{line}; EVERTREE_BLESS=1 writes it anew");
    }
    assert_eq!(text.len(), kept.len(), "{name}: EVERTREE_BLESS=1 writes it anew");
}

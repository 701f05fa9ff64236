//! The PEM files of a node, and that its key is for its owner alone.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{TlsConfig, TlsError};
use crate::base::Clock;

/// The bits of a file's mode that let others than its owner use it.
const OTHERS: u32 = 0o077;

/// Where a node's PEM files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate of the authority to trust.
    pub ca: PathBuf,
    /// This node's certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What is in a node's PEM files.
#[derive(Clone)]
pub struct TlsTexts {
    /// Certificate of the authority to trust.
    pub ca: String,
    /// This node's certificate.
    pub cert: String,
    /// Its private key.
    pub key: String,
}

impl TlsFiles {
    /// Reads the files. The key must be for its owner alone.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn read(&self) -> Result<TlsTexts, TlsError> {
        let text = |path| text_of(&mut opened(path)?, path);
        let (ca, cert) = (text(&self.ca)?, text(&self.cert)?);
        let key = Self::read_key(&self.key)?;
        Ok(TlsTexts { ca, cert, key })
    }

    /// Reads the files, as [`TlsFiles::read`], and makes them ready.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn load(&self, clock: Arc<dyn Clock>) -> Result<TlsConfig, TlsError> {
        let TlsTexts { ca, cert, key } = self.read()?;
        TlsConfig::from_pem(&ca, &cert, &key, clock)
    }

    /// Reads a key alone, which must be for its owner alone.
    ///
    /// # Errors
    /// [`TlsError`] names the file, and says what to do.
    pub fn read_key(path: &Path) -> Result<String, TlsError> {
        let mut file = opened(path)?;
        // Asked of the open file: what is read is what was judged.
        let mode = file.metadata().map_err(|error| unread(path, &error))?.mode() & 0o7777;
        if mode & OTHERS != 0 {
            let path = path.display();
            return Err(TlsError(format!(
                "the key {path} is not for its owner alone (its mode is {mode:04o}): run `chmod \
                 600 {path}`, and issue another one if somebody may have read it"
            )));
        }
        text_of(&mut file, path)
    }
}

impl fmt::Debug for TlsTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTexts")
    }
}

fn opened(path: &Path) -> Result<File, TlsError> {
    File::open(path).map_err(|error| unread(path, &error))
}

fn text_of(file: &mut File, path: &Path) -> Result<String, TlsError> {
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|error| unread(path, &error))?;
    Ok(text)
}

fn unread(path: &Path, error: &std::io::Error) -> TlsError {
    TlsError(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_that_others_may_use_is_refused_whatever_they_may_do_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("n1.key");
        fs::write(&path, "secret").expect("it is written");
        let with_mode = |mode| {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
            TlsFiles::read_key(&path)
        };
        for mode in [0o600, 0o400, 0o700] {
            assert_eq!(with_mode(mode), Ok("secret".to_owned()), "{mode:o}");
        }
        for mode in [0o640, 0o604, 0o620, 0o601, 0o644, 0o666] {
            let said = with_mode(mode).expect_err("others may use it").to_string();
            for word in ["n1.key", &format!("{mode:04o}"), "chmod 600"] {
                assert!(said.contains(word), "{mode:o}: {said}");
            }
            assert!(!said.contains("secret"), "{said}");
        }
    }
}

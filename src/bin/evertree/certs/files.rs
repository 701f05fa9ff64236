//! The directory of an authority: for its owner alone, and nothing in it is overwritten unasked.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use evertree::transport::TlsFiles;

use crate::Failure;

/// Mode of what is secret.
const KEY_MODE: u32 = 0o600;
/// Mode of what everybody may read.
const OPEN_MODE: u32 = 0o644;
/// The bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;

/// A directory for its owner alone.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

/// A file to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write<'a> {
    name: &'a str,
    text: &'a str,
    mode: u32,
}

impl<'a> Write<'a> {
    /// One that is secret.
    pub(super) const fn key(name: &'a str, text: &'a str) -> Self {
        Self { name, text, mode: KEY_MODE }
    }

    /// One that everybody may read.
    pub(super) const fn open(name: &'a str, text: &'a str) -> Self {
        Self { name, text, mode: OPEN_MODE }
    }
}

impl Directory {
    /// Makes it, and what is missing above it; one that is there already is taken as it is.
    pub(super) fn make(path: &Path) -> Result<Self, Failure> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| failed("make", path, &error))?;
        Self::open(path)
    }

    /// Takes it as it is.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let found = fs::metadata(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let path = path.display();
                Failure::failed(&format!(
                    "there is no directory {path}: make an authority with `evertree certs init \
                     --dir {path} --cluster NAME`, or give --dir"
                ))
            }
            _ => failed("read", path, &error),
        })?;
        let (shown, mode) = (path.display(), found.mode() & 0o7777);
        if !found.is_dir() {
            return Err(Failure::failed(&format!(
                "{shown} is not a directory: give another --dir"
            )));
        }
        if mode & OTHERS != 0 {
            return Err(Failure::failed(&format!(
                "the directory {shown} is not for its owner alone (its mode is {mode:04o}): run \
                 `chmod 700 {shown}`"
            )));
        }
        Ok(Self(path.to_path_buf()))
    }

    /// Fails if one of these files is there; `next` says what to do then.
    pub(super) fn has_none(&self, names: &[impl AsRef<str>], next: &str) -> Result<(), Failure> {
        for name in names {
            let path = self.0.join(name.as_ref());
            // A link that leads nowhere is there too.
            if path.symlink_metadata().is_ok() {
                let path = path.display();
                return Err(Failure::failed(&format!("{path} is not overwritten: {next}")));
            }
        }
        Ok(())
    }

    /// Reads a file that everybody may read.
    pub(super) fn read(&self, name: &str) -> Result<String, Failure> {
        let path = self.0.join(name);
        fs::read_to_string(&path).map_err(|error| failed("read", &path, &error))
    }

    /// Reads a file that must be for its owner alone.
    pub(super) fn read_key(&self, name: &str) -> Result<String, Failure> {
        TlsFiles::read_key(&self.0.join(name)).map_err(|error| Failure::failed(&error))
    }

    /// Makes files that are not there yet, all or none. They are on the disk when it returns.
    pub(super) fn write(&self, files: &[Write<'_>]) -> Result<Vec<PathBuf>, Failure> {
        let mut made = Vec::new();
        for file in files {
            let path = self.0.join(file.name);
            if let Err(error) = create(&path, file) {
                for path in &made {
                    // What cannot be removed is named by the next attempt.
                    let _ = fs::remove_file(path);
                }
                return Err(failed("make", &path, &error));
            }
            made.push(path);
        }
        self.sync()?;
        Ok(made)
    }

    /// Puts another text in the place of a file that is there, by a rename, and keeps its mode.
    pub(super) fn replace(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        let mode = fs::metadata(&path).map_err(|error| failed("read", &path, &error))?.mode();
        let other = self.0.join(format!(".{name}.new"));
        // One that was left by a run that was cut short.
        let _ = fs::remove_file(&other);
        let replaced = create(&other, &Write { name, text, mode: mode & 0o7777 })
            .and_then(|()| fs::rename(&other, &path));
        replaced.map_err(|error| failed("replace", &path, &error))?;
        self.sync()?;
        Ok(path)
    }

    fn sync(&self) -> Result<(), Failure> {
        let synced = File::open(&self.0).and_then(|directory| directory.sync_all());
        synced.map_err(|error| failed("write", &self.0, &error))
    }
}

/// Makes a file that nobody but its owner could open for an instant; then it gets its mode.
fn create(path: &Path, write: &Write<'_>) -> io::Result<()> {
    let options = OpenOptions::new().write(true).create_new(true).mode(KEY_MODE).open(path);
    let mut file = options?;
    let written = file.write_all(write.text.as_bytes()).and_then(|()| {
        if write.mode != KEY_MODE {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(write.mode);
            file.set_permissions(mode)?;
        }
        file.sync_all()
    });
    if written.is_err() {
        // It is ours, and of no use.
        let _ = fs::remove_file(path);
    }
    written
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(&format!("cannot {verb} {}: {error}", path.display()))
}

//! A stored file into a file of this machine, which appears only when it is complete.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::client::Client;
use crate::entities::Manifest;
use crate::transfer::{new_id, read};

/// Reads a stored file into `target`, which appears only when it is complete; what stood there
/// before is replaced.
pub(crate) async fn get(
    client: &Client,
    manifest: &Manifest,
    target: &Path,
    progress: impl Fn(u64),
) -> anyhow::Result<()> {
    ensure!(!target.is_dir(), "{} is a directory: name a file in it", target.display());
    let partial = Partial::create(target)?;
    let mut file = &partial.file;
    read(client, manifest, |bytes| {
        file.write_all(bytes).with_context(|| format!("writing {}", partial.path.display()))?;
        progress(bytes.len() as u64);
        Ok(())
    })
    .await?;
    partial.complete(target)
}

/// A file under a temporary name, removed unless it is completed.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn create(target: &Path) -> anyhow::Result<Self> {
        let name = target.file_name().context("the target has no file name")?.to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}.part", new_id()));
        let file =
            File::create_new(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path, file })
    }

    fn complete(self, target: &Path) -> anyhow::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, target)
            .with_context(|| format!("renaming to {}", target.display()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already if it was completed.
        let _ = std::fs::remove_file(&self.path);
    }
}

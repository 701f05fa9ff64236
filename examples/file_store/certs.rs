//! Certificates for a run on one machine.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use evertree::transport::certs::Authority;

/// Makes `dir` with ca.pem and, for each node, NAME.pem and NAME.key. The authority's own key is
/// not kept: a later node needs a new set.
pub(crate) fn make(dir: &Path, names: &[impl AsRef<str>]) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let authority = Authority::new("file-store")?;
    write(dir, "ca.pem", authority.ca_pem().as_bytes())?;
    for name in names {
        let name = name.as_ref();
        let (certificate, key) = authority.issue_node(name)?;
        write(dir, &format!("{name}.pem"), certificate.as_bytes())?;
        write(dir, &format!("{name}.key"), key.as_bytes())?;
    }
    Ok(())
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = dir.join(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(file.write_all(bytes)?)
}

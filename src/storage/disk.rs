//! The data directory.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::StorageBackend;
use rustix::fs::{FallocateFlags, fallocate};

use super::DiskError;
use crate::base::{Seams, Worker};
use crate::placement::DiskMark;

/// One data directory, ours alone as long as this value lives.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Opens a file for reading and writing; makes it if there is none.
    ///
    /// # Errors
    /// What the operating system says.
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;

    /// As [`Disk::open`], with `bytes` of the disk set aside for the file, so that whatever else
    /// fills the disk does not stop it at once. Where the system cannot, none are.
    ///
    /// # Errors
    /// What the operating system says of the file itself.
    fn open_with_room(&self, name: &str, bytes: u64) -> io::Result<Box<dyn StorageBackend>> {
        let _ = bytes;
        self.open(name)
    }

    /// Whether there is such a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn exists(&self, name: &str) -> io::Result<bool>;

    /// Gives a file another name, in place of one that may have it. On the disk when it returns.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. On the disk when it returns.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// What tells this directory from a copy of it.
    fn mark(&self) -> DiskMark;

    /// A worker for blocking calls to it, if it brings its own: a simulated disk does, so that it
    /// can be slow. `None`: one like any other.
    fn worker(&self) -> Option<Worker> {
        None
    }
}

/// A worker for blocking calls to `disk`; on a thread named `name` where threads are allowed.
///
/// # Errors
/// If the operating system refuses the thread.
pub(crate) fn disk_worker(disk: &dyn Disk, seams: &Seams, name: &str) -> io::Result<Worker> {
    disk.worker().map_or_else(|| seams.worker(name), Ok)
}

/// Name of the file whose lock says that the directory is in use.
const LOCK_FILE: &str = "lock";

/// A directory of the file system, locked as long as this value lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    mark: DiskMark,
    /// Synced after every change of a name.
    names: File,
    /// Holds the lock; every open file holds it too, so that it ends with the last of them.
    lock: Arc<File>,
}

impl Directory {
    /// Takes the directory at `path`; makes it, for this user alone, if there is none.
    ///
    /// # Errors
    /// [`DiskError`]; nothing was changed but what had to be created.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DiskError> {
        let path = path.as_ref();
        let fail = |verb| move |source: io::Error| failed(path, verb, source);
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => {
                return Err(DiskError::NotADirectory { path: path.into() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make(path).map_err(fail("created"))?;
            }
            Err(error) => return Err(failed(path, "read", error)),
        }
        let names = File::open(path).map_err(fail("read"))?;
        let lock = options().open(path.join(LOCK_FILE)).map_err(fail("written"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DiskError::InUse { path: path.into() }),
            Err(TryLockError::Error(error)) => return Err(failed(path, "written", error)),
        }
        names.sync_all().map_err(fail("written"))?;
        let mark = mark_of(&lock).map_err(fail("read"))?;
        Ok(Self { path: path.into(), mark, names, lock: Arc::new(lock) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Disk for Directory {
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.open_with_room(name, 0)
    }

    fn open_with_room(&self, name: &str, bytes: u64) -> io::Result<Box<dyn StorageBackend>> {
        let path = self.path.join(name);
        let made = !path.try_exists()?;
        let file = options().open(&path)?;
        if made {
            self.names.sync_all()?;
        }
        let file = LockedFile { file, room: bytes, _lock: Arc::clone(&self.lock) };
        if let Err(error) = file.set_room_aside() {
            tracing::warn!(file = %path.display(), bytes, %error, "no room is set aside");
        }
        Ok(Box::new(file))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.path.join(name).try_exists()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))?;
        self.names.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))?;
        self.names.sync_all()
    }

    fn mark(&self) -> DiskMark {
        self.mark.clone()
    }
}

/// Makes a directory and what is missing above it. Their names are on the disk when it returns.
fn make(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|above| !above.exists());
    let parents: Vec<_> = missing.filter_map(Path::parent).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for parent in parents {
        let named = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        File::open(named)?.sync_all()?;
    }
    Ok(())
}

/// Opens for reading and writing, makes what is missing, for this user alone.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

fn failed(path: &Path, verb: &'static str, source: io::Error) -> DiskError {
    let path = path.into();
    match source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            DiskError::Denied { path, verb, source }
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => DiskError::NotADirectory { path },
        _ => DiskError::Io { path, source },
    }
}

fn mark_of(lock: &File) -> io::Result<DiskMark> {
    // The id that the file system keeps itself. Some have none (NFS says 0), or name the device
    // instead (XFS, FAT), whose number may change when the host restarts.
    let id = rustix::fs::fstatvfs(lock)?.f_fsid;
    let found = lock.metadata()?;
    let host_boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Ok(DiskMark {
        filesystem: if id == found.dev() { 0 } else { id },
        device: found.dev(),
        lock_inode: found.ino(),
        host_boot: host_boot.trim().into(),
    })
}

/// A file of a directory, as redb wants it. The directory's lock stands for the file's.
#[derive(Debug)]
struct LockedFile {
    file: File,
    /// So many bytes of the disk are its own, however short it is.
    room: u64,
    _lock: Arc<File>,
}

impl LockedFile {
    fn set_room_aside(&self) -> io::Result<()> {
        if self.room == 0 {
            return Ok(());
        }
        // Its length stays: redb takes what is there for a file of its own making.
        fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, self.room)?;
        Ok(())
    }
}

impl StorageBackend for LockedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        // A file that becomes shorter gives back what lay behind its end. That there is no room any
        // more, or that the system sets none aside, was told when the file was opened.
        let _ = self.set_room_aside();
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}

//! Sockets in the file system, for one user of one machine: how a command talks to a node.
//!
//! Who may connect is decided by the mode of the socket's file, which is 0600 from the first
//! instant: Linux gives the file the mode that the socket had before it was bound. Where another
//! system does not, the mode is set before the socket listens, and until then it takes nobody.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use super::Stream;

/// Longest path of a socket, in bytes. Linux has room for 108, the zero byte at the end included.
pub const LOCAL_PATH_BYTES_MAX: usize = 107;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// Read and write, for the owner alone.
const MODE: u32 = 0o600;

/// Why a socket in the file system cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The system has no room for such a path.
    #[error(
        "the path of the socket {} has {} bytes, and the system takes at most \
         {LOCAL_PATH_BYTES_MAX}: choose a shorter path for the data directory, or name it relative \
         to the working directory",
        path.display(), path.as_os_str().len()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// Something else has its name.
    #[error("{} is in the way: it is not a socket; move it elsewhere", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// There is no such socket.
    #[error("there is no socket {}", path.display())]
    Absent {
        /// The path.
        path: PathBuf,
    },
    /// The process that made it is gone.
    #[error("nobody listens at {}: the process that made it is gone", path.display())]
    Deserted {
        /// The path.
        path: PathBuf,
    },
    /// This user may not use it.
    #[error("{} may not be used by this user ({source})", path.display())]
    Denied {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system refused for another reason.
    #[error("{} cannot be used as a socket: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A socket that this process listens on. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct LocalListener {
    socket: UnixListener,
    file: OwnFile,
}

/// A file that this process made.
#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    /// Device and inode.
    is: (u64, u64),
}

impl OwnFile {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.into(), is: (found.dev(), found.ino()) })
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Somebody may have put another in its place: that one stays.
        let now = fs::symlink_metadata(&self.path).map(|found| (found.dev(), found.ino()));
        if now.is_ok_and(|now| now == self.is)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket is left behind");
        }
    }
}

impl LocalListener {
    /// Listens at `path`, for this user alone. A socket that is there already is replaced: whoever
    /// calls this must know that its process is gone.
    ///
    /// Must be called on a runtime of tokio, which then does the waiting.
    ///
    /// # Errors
    /// [`LocalError`]; nothing was changed but what was stale.
    pub fn bind(path: &Path) -> Result<Self, LocalError> {
        let failed = |error| failed(path, error);
        let address = address(path)?;
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(failed)?,
            Ok(_) => return Err(LocalError::Occupied { path: path.into() }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
        fchmod(&socket, Mode::from_raw_mode(MODE)).map_err(|error| failed(error.into()))?;
        socket.bind(&address).map_err(failed)?;
        let file = OwnFile::of(path).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed)?;
        // Only now can anybody connect.
        socket.listen(BACKLOG).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let socket = UnixListener::from_std(socket.into()).map_err(failed)?;
        Ok(Self { socket, file })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The next connection. May be dropped and called again.
    ///
    /// # Errors
    /// What the operating system says; the next call may succeed.
    pub async fn accept(&self) -> io::Result<Stream> {
        let (stream, _) = self.socket.accept().await?;
        Ok(Box::new(stream))
    }
}

/// Connects to the socket at `path`. Has no deadline of its own.
///
/// # Errors
/// [`LocalError`].
pub async fn connect_local(path: &Path) -> Result<Stream, LocalError> {
    address(path)?;
    let stream = UnixStream::connect(path).await.map_err(|error| failed(path, error))?;
    Ok(Box::new(stream))
}

fn address(path: &Path) -> Result<SockAddr, LocalError> {
    if path.as_os_str().as_bytes().len() > LOCAL_PATH_BYTES_MAX {
        return Err(LocalError::TooLong { path: path.into() });
    }
    SockAddr::unix(path).map_err(|error| failed(path, error))
}

fn failed(path: &Path, source: io::Error) -> LocalError {
    let path = path.into();
    match source.kind() {
        ErrorKind::NotFound => LocalError::Absent { path },
        ErrorKind::ConnectionRefused => LocalError::Deserted { path },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            LocalError::Denied { path, source }
        }
        _ => LocalError::Io { path, source },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn both_ends_speak_and_the_file_is_for_its_owner_alone_and_goes_with_the_listener() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("n.sock");
        let listener = LocalListener::bind(&path).expect("it listens");
        assert_eq!((mode(&path), listener.path()), (0o600, path.as_path()));
        let mut here = connect_local(&path).await.expect("it connects");
        let mut there = listener.accept().await.expect("it is let in");
        here.write_all(b"question").await.expect("it is written");
        let mut heard = [0; 8];
        there.read_exact(&mut heard).await.expect("it is read");
        assert_eq!(&heard, b"question");
        drop(listener);
        assert!(!path.exists());
        let error = connect_local(&path).await.err().expect("nobody is there");
        assert!(matches!(error, LocalError::Absent { .. }), "{error}");
    }

    /// The mode is not set afterwards: a file that is seen at all is seen with it.
    #[cfg(target_os = "linux")]
    #[test]
    fn linux_gives_the_file_the_mode_of_the_socket() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("n.sock");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        fchmod(&socket, Mode::from_raw_mode(MODE)).expect("its mode is set");
        socket.bind(&address(&path).expect("short")).expect("it is bound");
        assert_eq!(mode(&path), 0o600);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_nothing_else_is() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("n.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("it was bound once"));
        let error = connect_local(&path).await.err().expect("nobody listens");
        assert!(matches!(error, LocalError::Deserted { .. }), "{error}");
        drop(LocalListener::bind(&path).expect("it takes the place of the stale one"));
        let file = place.path().join("file");
        fs::write(&file, "words").expect("it is written");
        symlink(&file, &path).expect("a link");
        for occupied in [&file, &path, &place.path().to_owned()] {
            let error = LocalListener::bind(occupied).expect_err("it is no socket");
            assert!(matches!(error, LocalError::Occupied { .. }), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).expect("it is still there"), "words");
    }

    #[tokio::test]
    async fn what_another_put_in_its_place_stays() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("n.sock");
        let old = LocalListener::bind(&path).expect("it listens");
        let new = LocalListener::bind(&path).expect("it takes its place");
        drop(old);
        assert!(connect_local(&path).await.is_ok(), "the new one is there");
        drop(new);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_said_plainly() {
        let place = tempfile::tempdir().expect("a folder");
        let left = LOCAL_PATH_BYTES_MAX - place.path().as_os_str().len() - 1;
        let longest = place.path().join("x".repeat(left));
        drop(LocalListener::bind(&longest).expect("it fits"));
        let longer = place.path().join("x".repeat(left + 1));
        let bound = LocalListener::bind(&longer).expect_err("too long");
        let dialled = connect_local(&longer).await.err().expect("too long");
        for said in [bound.to_string(), dialled.to_string()] {
            let names = said.contains(&longer.display().to_string());
            assert!(names && said.contains("has 108 bytes"), "{said}");
            assert!(said.contains("a shorter path for the data directory"), "{said}");
        }
    }
}

//! The data directory, watched: which of its operations are under way and since when, and when the
//! last one reached the disk.
//!
//! Reads are not watched. They run wherever they are called, mostly from memory; one that hangs
//! blocks a worker, or the thread that writes the records, and is found there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use redb::StorageBackend;

use super::DiskConfig;
use super::run::Work;
use crate::base::{Clock, Instant, Worker};
use crate::placement::DiskMark;
use crate::storage::{Disk, Store};

/// What is written when nothing else is.
const FILE: &str = "alive";

/// An operation under way.
#[derive(Debug)]
struct Flight {
    number: u64,
    began: Instant,
    what: &'static str,
    file: Arc<str>,
}

#[derive(Debug)]
struct Flights {
    made: u64,
    /// Oldest first: few at any time.
    under_way: Vec<Flight>,
    /// When the last sync came back.
    synced: Instant,
}

#[derive(Debug)]
struct Board {
    clock: Arc<dyn Clock>,
    flights: Mutex<Flights>,
}

impl Board {
    /// Does `call`, which stands on the board as long as it takes.
    fn watch<T>(
        &self,
        what: &'static str,
        file: &Arc<str>,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let began = self.clock.now();
        let number = {
            let mut flights = self.flights.lock();
            flights.made += 1;
            let number = flights.made;
            flights.under_way.push(Flight { number, began, what, file: file.clone() });
            number
        };
        let result = call();
        let now = self.clock.now();
        let mut flights = self.flights.lock();
        flights.under_way.retain(|flight| flight.number != number);
        if result.is_ok() && what == SYNC {
            flights.synced = now;
        }
        result
    }

    /// Which operation has been under way for longer than `limit`, if any.
    fn overlong(&self, limit: Duration) -> Option<String> {
        let now = self.clock.now();
        let flights = self.flights.lock();
        let oldest = flights.under_way.first()?;
        let took = now.since(oldest.began);
        let Flight { what, file, .. } = oldest;
        (took > limit).then(|| format!("{what} {file} takes longer than {limit:?}"))
    }

    fn idle(&self) -> Duration {
        let now = self.clock.now();
        now.since(self.flights.lock().synced)
    }
}

const SYNC: &str = "syncing";

/// A disk whose operations are watched.
#[derive(Debug)]
pub(in crate::node) struct WatchedDisk {
    disk: Arc<dyn Disk>,
    board: Arc<Board>,
}

impl WatchedDisk {
    pub(in crate::node) fn new(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Self {
        let synced = clock.now();
        let flights = Mutex::new(Flights { made: 0, under_way: Vec::new(), synced });
        Self { disk, board: Arc::new(Board { clock, flights }) }
    }

    /// Writes a little and syncs it. Opens the file each time: a directory that is gone shows.
    fn touch(&self) -> io::Result<()> {
        let file = self.open(FILE)?;
        file.write(0, b"alive")?;
        file.sync_data()
    }

    /// What the probe `disk` does: see [`DiskConfig`].
    pub(super) fn probe(self: Arc<Self>, store: Store, config: DiskConfig) -> Work {
        Arc::new(move || {
            let (disk, store) = (self.clone(), store.clone());
            async move {
                if let Some(why) = disk.board.overlong(config.probe.deadline) {
                    return Err(why);
                }
                if disk.board.idle() < config.idle {
                    return Ok(());
                }
                let touched = store.run(move || disk.touch()).await;
                let touched = touched.map_err(|error| error.to_string())?;
                touched.map_err(|error| format!("the file `{FILE}`: {error}"))
            }
            .boxed()
        })
    }
}

impl Disk for WatchedDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.open_with_room(name, 0)
    }

    fn open_with_room(&self, name: &str, bytes: u64) -> io::Result<Box<dyn StorageBackend>> {
        let (name, board) = (Arc::from(name), self.board.clone());
        let file = board.watch("opening", &name, || match bytes {
            0 => self.disk.open(&name),
            _ => self.disk.open_with_room(&name, bytes),
        })?;
        Ok(Box::new(WatchedFile { file, name, board }))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.disk.exists(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.board.watch("renaming", &Arc::from(from), || self.disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.board.watch("removing", &Arc::from(name), || self.disk.remove(name))
    }

    fn mark(&self) -> DiskMark {
        self.disk.mark()
    }

    fn worker(&self) -> Option<Worker> {
        self.disk.worker()
    }
}

#[derive(Debug)]
struct WatchedFile {
    file: Box<dyn StorageBackend>,
    name: Arc<str>,
    board: Arc<Board>,
}

impl StorageBackend for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.board.watch("resizing", &self.name, || self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.board.watch(SYNC, &self.name, || self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.board.watch("writing", &self.name, || self.file.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

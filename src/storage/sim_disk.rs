//! A simulated disk that outlives the boots of its node.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use redb::StorageBackend;

use super::{Disk, Durability, Store, StoreError};
use crate::base::{Clock, Rng, SeededRng, Worker};
use crate::placement::DiskMark;

/// What survives a power loss or does not is decided sector by sector.
const SECTOR_BYTES: usize = 512;

/// The platter of a simulated disk. Clones are the same disk; it outlives every boot of its node.
///
/// A boot uses it through a [`SimMount`]. Mounting again, [`SimDisk::kill`] and
/// [`SimDisk::power_loss`] end the mount before: whatever its owner still does fails and changes
/// nothing, so that a database closing on drop writes nothing.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<Platter>>);

#[derive(Debug)]
struct Platter {
    files: BTreeMap<String, Image>,
    mark: DiskMark,
    /// The mount that is alive.
    mount: u64,
    writes_until_failure: Option<u64>,
    syncs_until_failure: Option<u64>,
    /// By what it is late, if it may be.
    pace: Option<(Arc<dyn Clock>, Arc<dyn Rng>)>,
    /// Longest time that a call waits before it is done; none waits while there is none.
    latency_max: Option<Duration>,
}

#[derive(Debug, Default, Clone)]
struct Image {
    /// What a reader sees.
    view: Vec<u8>,
    /// What survives for sure.
    durable: Vec<u8>,
    /// What was written since the last sync, in order.
    pending: Vec<Pending>,
}

#[derive(Debug, Clone)]
enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl SimDisk {
    /// An empty disk that marks itself with `mark`.
    #[must_use]
    pub fn new(mark: DiskMark) -> Self {
        Self(Arc::new(Mutex::new(Platter {
            files: BTreeMap::new(),
            mark,
            mount: 0,
            writes_until_failure: None,
            syncs_until_failure: None,
            pace: None,
            latency_max: None,
        })))
    }

    /// The same disk, which may be slow from now on: see [`SimDisk::set_latency`].
    #[must_use]
    pub fn paced(self, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        self.0.lock().pace = Some((clock, rng));
        self
    }

    /// Has every call to a [`Disk::worker`] of it wait before it is done, between a tenth of `most`
    /// and `most`; with `None` no call waits. It outlives boots. Of a disk that is not
    /// [`SimDisk::paced`] nothing follows.
    pub fn set_latency(&self, most: Option<Duration>) {
        self.0.lock().latency_max = most;
    }

    /// What the next call waits for.
    fn latency(&self) -> Option<BoxFuture<'static, ()>> {
        let platter = self.0.lock();
        let (most, (clock, rng)) = (platter.latency_max?, platter.pace.as_ref()?);
        let least = most / 10;
        Some(clock.sleep(least + rng.up_to(most.saturating_sub(least))))
    }

    /// Takes the disk over for a new boot.
    #[must_use]
    pub fn mount(&self) -> SimMount {
        let mut platter = self.0.lock();
        platter.mount += 1;
        SimMount { disk: self.clone(), mount: platter.mount }
    }

    /// The process dies; the operating system lives: everything written is there.
    pub fn kill(&self) {
        let mut platter = self.0.lock();
        platter.mount += 1;
        platter.heal();
    }

    /// The power fails: what was synced is there, of the rest a random part.
    pub fn power_loss(&self, rng: &dyn Rng) {
        let mut platter = self.0.lock();
        platter.mount += 1;
        platter.heal();
        for image in platter.files.values_mut() {
            image.power_loss(rng);
        }
    }

    /// The host restarted: it has another boot id.
    pub fn set_host_boot(&self, host_boot: &str) {
        self.0.lock().mark.host_boot = host_boot.into();
    }

    /// A copy of everything that is on it, as another disk.
    #[must_use]
    pub fn copy(&self, mark: DiskMark) -> Self {
        let copy = Self::new(mark);
        copy.0.lock().files.clone_from(&self.0.lock().files);
        copy
    }

    /// `file` is as it is on `other`, as if it had been written over in its place.
    pub fn put_back(&self, file: &str, other: &Self) {
        let image = other.0.lock().files.get(file).cloned();
        if let Some(image) = image {
            self.0.lock().files.insert(file.into(), image);
        }
    }

    /// `file` is gone.
    pub fn lose(&self, file: &str) {
        self.0.lock().files.remove(file);
    }

    /// All files are gone, and what is made anew is another directory.
    pub fn lose_all(&self) {
        let mut platter = self.0.lock();
        platter.files.clear();
        platter.mark.lock_inode += 1 << 32;
    }

    /// A copy of the records as they are now, to look at. Whoever has the disk mounted goes on.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn look(&self) -> Result<Store, StoreError> {
        let mark = self.0.lock().mark.clone();
        let copy = self.copy(mark);
        // An empty disk becomes an empty store with an id that nobody has.
        Store::open(&copy.mount(), Worker::inline(), Durability::Disk, &SeededRng::new(0))
    }

    /// Lets `writes` more writes through, then fails one and ends there.
    pub fn fail_write_after(&self, writes: u64) {
        self.0.lock().writes_until_failure = Some(writes);
    }

    /// Lets `syncs` more syncs through, then fails one and ends there.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.0.lock().syncs_until_failure = Some(syncs);
    }

    /// Flips one bit of `file` at `offset`, as a dying disk does.
    pub fn flip_bit(&self, file: &str, offset: usize) {
        if let Some(image) = self.0.lock().files.get_mut(file) {
            for bytes in [&mut image.view, &mut image.durable] {
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte ^= 1;
                }
            }
        }
    }

    /// What is in `file`, as a reader sees it.
    #[must_use]
    pub fn bytes(&self, file: &str) -> Option<Vec<u8>> {
        self.0.lock().files.get(file).map(|image| image.view.clone())
    }
}

impl Platter {
    fn heal(&mut self) {
        self.writes_until_failure = None;
        self.syncs_until_failure = None;
    }
}

impl Image {
    fn write(bytes: &mut Vec<u8>, offset: usize, part: &[u8]) {
        let end = offset + part.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(part);
    }

    fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Write { offset, bytes } => Self::write(&mut self.durable, offset, &bytes),
                Pending::Length(len) => self.durable.resize(len, 0),
            }
        }
    }

    fn power_loss(&mut self, rng: &dyn Rng) {
        let mut image = std::mem::take(&mut self.durable);
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Write { offset, bytes } => {
                    let mut at = offset;
                    let mut rest = bytes.as_slice();
                    while !rest.is_empty() {
                        // A write that is not aligned tears at the sectors of the disk.
                        let room = SECTOR_BYTES - at % SECTOR_BYTES;
                        let (sector, more) = rest.split_at(room.min(rest.len()));
                        if rng.next_u64() & 1 == 1 {
                            Self::write(&mut image, at, sector);
                        }
                        at += sector.len();
                        rest = more;
                    }
                }
                Pending::Length(len) => {
                    if rng.next_u64() & 1 == 1 {
                        image.resize(len, 0);
                    }
                }
            }
        }
        self.view.clone_from(&image);
        self.durable = image;
    }
}

/// One boot's way to a [`SimDisk`].
#[derive(Debug, Clone)]
pub struct SimMount {
    disk: SimDisk,
    mount: u64,
}

impl SimMount {
    fn with<T>(&self, call: impl FnOnce(&mut Platter) -> io::Result<T>) -> io::Result<T> {
        let mut platter = self.disk.0.lock();
        if platter.mount != self.mount {
            return Err(io::Error::other("this boot has lost its disk"));
        }
        call(&mut platter)
    }

    fn with_file<T>(
        &self,
        name: &str,
        call: impl FnOnce(&mut Image) -> io::Result<T>,
    ) -> io::Result<T> {
        self.with(|platter| call(platter.files.get_mut(name).ok_or_else(no_file)?))
    }
}

fn no_file() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for SimMount {
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.with(|platter| {
            platter.files.entry(name.into()).or_default();
            Ok(Box::new(SimFile { mount: self.clone(), name: name.into() }) as _)
        })
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.with(|platter| Ok(platter.files.contains_key(name)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.with(|platter| {
            let image = platter.files.remove(from).ok_or_else(no_file)?;
            platter.files.insert(to.into(), image);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.with(|platter| platter.files.remove(name).map(|_| ()).ok_or_else(no_file))
    }

    fn mark(&self) -> DiskMark {
        self.disk.0.lock().mark.clone()
    }

    fn worker(&self) -> Option<Worker> {
        let disk = self.disk.clone();
        let paced = disk.0.lock().pace.is_some();
        paced.then(|| Worker::paced(Box::new(move || disk.latency())))
    }
}

#[derive(Debug)]
struct SimFile {
    mount: SimMount,
    name: String,
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.mount.with_file(&self.name, |image| Ok(image.view.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = place(offset)?;
        self.mount.with_file(&self.name, |image| {
            let end = offset.checked_add(out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(image.view.get(offset..end).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = place(len)?;
        self.mount.with_file(&self.name, |image| {
            image.view.resize(len, 0);
            image.pending.push(Pending::Length(len));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.mount.with(|platter| {
            count_down(&mut platter.syncs_until_failure, "sync")?;
            let image = platter.files.get_mut(&self.name).ok_or_else(no_file)?;
            image.sync();
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = place(offset)?;
        self.mount.with(|platter| {
            count_down(&mut platter.writes_until_failure, "write")?;
            let image = platter.files.get_mut(&self.name).ok_or_else(no_file)?;
            Image::write(&mut image.view, offset, data);
            image.pending.push(Pending::Write { offset, bytes: data.to_vec() });
            Ok(())
        })
    }
}

/// Fails once the count has run out, and from then on always.
fn count_down(left: &mut Option<u64>, what: &str) -> io::Result<()> {
    match left {
        None => Ok(()),
        Some(0) => Err(io::Error::other(format!("injected {what} failure"))),
        Some(count) => {
            *count -= 1;
            Ok(())
        }
    }
}

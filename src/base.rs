//! What every layer shares: names, instants, exit reasons, and the seams to the world.

#[cfg(feature = "cluster")]
mod alarm;
#[cfg(feature = "cluster")]
mod control;
mod exit;
#[cfg(feature = "sim")]
mod fill;
#[cfg(feature = "cluster")]
mod id;
mod keyed;
#[cfg(feature = "cluster")]
mod planted;
mod seam;
mod time;
#[cfg(feature = "cluster")]
mod net;
#[cfg(feature = "cluster")]
mod watch;
#[cfg(feature = "sim")]
mod witness;
#[cfg(feature = "cluster")]
mod worker;

#[cfg(feature = "cluster")]
pub use alarm::Alarm;
#[cfg(feature = "cluster")]
pub use control::ControlRuntime;
pub use exit::ExitReason;
#[cfg(feature = "sim")]
pub(crate) use fill::Fill;
#[cfg(feature = "cluster")]
pub use id::{
    Boot, ClusterId, Epoch, NAME_BYTES_MAX, NameError, NodeId, ShardId, StoreId, Version, VoterId,
};
pub(crate) use keyed::Keyed;
#[cfg(feature = "cluster")]
pub(crate) use net::{ADDRESS_FORM, ip_of, is_host_port, is_nowhere};
#[cfg(feature = "cluster")]
pub use net::{
    Io, LOCAL_PATH_BYTES_MAX, Listener, LocalError, LocalListener, Net, Stream, TokioNet,
    connect_local,
};
#[cfg(all(test, feature = "sim"))]
pub(crate) use planted::with as with_planted;
#[cfg(feature = "cluster")]
pub(crate) use planted::{Bug, is_sound, planted};
#[cfg(feature = "cluster")]
pub use seam::{BootClock, Seams, Spawner};
pub use seam::{Clock, Elapsed, LATE_MAX, Rng, SeededRng, TokioClock, within};
pub use time::Instant;
#[cfg(feature = "cluster")]
pub use watch::{Publisher, Watch, Watched};
#[cfg(feature = "sim")]
pub(crate) use witness::{Seen, saw, while_listening};
#[cfg(feature = "sim")]
pub use worker::Pace;
#[cfg(feature = "cluster")]
pub use worker::{Worker, WorkerGone};

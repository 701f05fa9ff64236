//! Log lines with the world's time, if `SIM_LOG` asks for them.

use std::fmt;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

struct WorldTime;

impl FormatTime for WorldTime {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        match evertree::sim::elapsed() {
            Some(time) => write!(to, "{:9.3}", time.as_secs_f64()),
            None => write!(to, "        -"),
        }
    }
}

/// Shows what `SIM_LOG` asks for.
pub(crate) fn init() {
    let Ok(filter) = std::env::var("SIM_LOG") else { return };
    // Another test of this process may have done it.
    let _ = tracing_subscriber::fmt()
        .with_timer(WorldTime)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .with_env_filter(EnvFilter::new(filter))
        .try_init();
}

//! See the design: layer `membership`.

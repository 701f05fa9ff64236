//! See the design: layer `restart`.

//! See the design: layer `ring`.

//! See the design: layer `replica`.

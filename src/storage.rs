//! See the design: layer `storage`.

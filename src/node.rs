//! See the design: layer `node`.

//! See the design: layer `detector`.

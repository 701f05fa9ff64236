//! S05: a child of no type that can be supervised.

use evertree::supervisor::SupervisorSpec;

fn main() {
    let _ = SupervisorSpec::one_for_one("top").child("a");
}

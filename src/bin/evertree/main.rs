//! The command that operators live with.

fn main() {
    println!("evertree {}", env!("CARGO_PKG_VERSION"));
}

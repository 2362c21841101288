//! Rebuilds this crate when a migration is added: the macro that embeds them does not notice a new file.

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}

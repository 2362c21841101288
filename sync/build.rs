//! Rebuilds the crate when a migration is added or removed: `embed_migrations!` names the files that it found, so the
//! compiler notices a changed file, but not a new one.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../migrations/central");
    println!("cargo::rerun-if-changed=../migrations/edge");
}

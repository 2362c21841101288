//! Tells the program when it was built: no certificate is judged at an earlier time, whatever a box's clock says.
//!
//! `SOURCE_DATE_EPOCH` (reproducible-builds.org) ranks above the clock. A later build may keep the time of an earlier one;
//! it is a time that has passed in any case.

use std::time::{SystemTime, UNIX_EPOCH};

#[expect(clippy::disallowed_methods, reason = "the time of a build is read where it is built")]
fn main() {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rerun-if-changed=build.rs");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.trim().parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds: u64 = given.unwrap_or_else(now);
    println!("cargo::rustc-env=EDGE_BUILT_UNIX_SECONDS={seconds}");
}

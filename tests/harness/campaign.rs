//! How much of a test is wanted.

/// Whether the long form was asked for: `WAYSTATION_CAMPAIGN` in the environment.
pub fn campaign() -> bool {
    std::env::var_os("WAYSTATION_CAMPAIGN").is_some()
}

/// The seed of a test's draws: `SEED` in the environment, or the test's own.
pub fn seed(own: u64) -> u64 {
    std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(own)
}

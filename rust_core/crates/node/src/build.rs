//! Which build this is.

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The features that a released build has not.
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "faults")]
    "faults",
    #[cfg(feature = "plants")]
    "plants",
];

/// The version line: `mcp-manager 0.1.0 (faults, plants)`.
pub fn line() -> String {
    let features = if FEATURES.is_empty() { "release".to_owned() } else { FEATURES.join(", ") };
    format!("mcp-manager {VERSION} ({features})")
}

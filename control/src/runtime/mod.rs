//! The thin shell around the pure core.

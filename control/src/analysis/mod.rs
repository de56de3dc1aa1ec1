//! Snapshot and guardrails in, verdict out: pure.

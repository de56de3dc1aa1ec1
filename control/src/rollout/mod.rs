//! The state machine of a rollout: pure.

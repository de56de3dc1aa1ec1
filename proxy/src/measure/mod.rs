//! One record per request: written by one worker, read by the control loop, never in each other's way.

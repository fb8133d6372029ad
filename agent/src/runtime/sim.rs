//! Containers as state machines on the given clock.

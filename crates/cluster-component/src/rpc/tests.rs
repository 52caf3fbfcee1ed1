//! Tests of the switchboard.

//! Decisions without I/O: pin rules, allocation, tracker, monitor, CRDT replica.

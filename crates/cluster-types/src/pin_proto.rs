//! The stored form of a pin: protocol buffers, as the reference.

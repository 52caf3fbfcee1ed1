//! The main component and the small ones: pin path, tracker, monitor, informers, allocator, adder, states.

//! REST client used by the command-line tools and by tests.

//! The connector `ipfshttp` as others see it.

mod contract;

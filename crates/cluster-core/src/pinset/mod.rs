//! The rules of the pinset: what a pin may be, what it becomes, when it goes.
//!
//! As the reference: `cluster.go`, setupPin, checkPinType, setupReplicationFactor, PinUpdate, Unpin. The texts of errors
//! are its own, since clients compare them.

pub mod digest;
pub mod expiry;
pub mod leaving;

use cluster_types::{Cid, Pin, PinMode, PinOptions, PinType, Timestamp};

/// A pin that may not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

fn refuse<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(text.into()))
}

/// The peer's default factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultFactors {
    /// Fewest peers.
    pub min: i32,
    /// Most peers.
    pub max: i32,
}

/// Makes a pin ready to be allocated and logged: defaults filled in, everything checked against the pin that is there.
///
/// # Errors
/// When the pin may not be.
pub fn prepare(mut pin: Pin, existing: Option<&Pin>, defaults: DefaultFactors, now: Timestamp) -> Result<Pin, Refusal> {
    let options = &mut pin.options;
    if options.replication_factor_min == 0 {
        options.replication_factor_min = defaults.min;
    }
    if options.replication_factor_max == 0 {
        options.replication_factor_max = defaults.max;
    }
    check_factors(options.replication_factor_min, options.replication_factor_max)?;
    if !options.expire_at.is_zero() && options.expire_at < now {
        return refuse("pin.ExpireAt set before current time");
    }
    if pin.is_everywhere() {
        pin.allocations.clear();
    }
    if let Some(existing) = existing {
        check_change(&pin, existing)?;
    }
    // The reference checks the type only where a pin is there already; a malformed first one is no better.
    check_type(&pin)?;
    pin.timestamp = now;
    Ok(pin)
}

/// Checks a pair of factors.
///
/// # Errors
/// When they make no sense, in the reference's words and order.
pub fn check_factors(min: i32, max: i32) -> Result<(), Refusal> {
    match (min, max) {
        (0, _) | (_, 0) => refuse("cluster.replication_factor_min and max must be set"),
        _ if min > max => refuse("cluster.replication_factor_min is larger than max"),
        _ if min < -1 => refuse("cluster.replication_factor_min is wrong"),
        _ if max < -1 => refuse("cluster.replication_factor_max is wrong"),
        _ if (min == -1) != (max == -1) => {
            refuse("cluster.replication_factor_min and max must be -1 when one of them is")
        }
        _ => Ok(()),
    }
}

fn check_change(pin: &Pin, existing: &Pin) -> Result<(), Refusal> {
    if existing.kind != pin.kind {
        return refuse(format!(
            "cannot repin CID with different tracking method, clear state with pin rm to proceed. New: {}. Was: {}",
            pin.kind.as_str(),
            existing.kind.as_str()
        ));
    }
    if existing.options.mode == PinMode::Recursive && pin.options.mode != PinMode::Recursive {
        return refuse(
            "cannot repin a CID which is already pinned in recursive mode (new pin is pinned as direct). Unpin it first.",
        );
    }
    Ok(())
}

fn check_type(pin: &Pin) -> Result<(), Refusal> {
    match pin.kind {
        PinType::Data if pin.reference.is_some() => refuse("data pins should not reference other pins"),
        PinType::Shard if pin.max_depth != 1 => refuse("must pin shards go depth 1"),
        PinType::ClusterDag if pin.max_depth != 0 => refuse("must pin roots directly"),
        PinType::ClusterDag if pin.reference.is_none() => refuse("clusterDAG pins should reference a Meta pin"),
        PinType::Meta if !pin.allocations.is_empty() => refuse("meta pin should not specify allocations"),
        PinType::Meta if pin.reference.is_none() => refuse("metaPins should reference a ClusterDAG"),
        PinType::Bad => refuse("unrecognized pin type"),
        _ => Ok(()),
    }
}

/// The pin that takes the place of another: its copy, with the name and the expiry of the request where it has them.
///
/// # Errors
/// When pins of that type cannot be updated.
pub fn update(existing: &Pin, to: Cid, request: &PinOptions, now: Timestamp) -> Result<Pin, Refusal> {
    if existing.kind != PinType::Data {
        return refuse("this pin type cannot be updated");
    }
    let mut pin = existing.clone();
    pin.options.pin_update = Some(existing.cid);
    pin.cid = to;
    pin.timestamp = now;
    if !request.name.is_empty() {
        pin.options.name.clone_from(&request.name);
    }
    if !request.expire_at.is_zero() {
        if request.expire_at < now {
            return refuse("pin.ExpireAt set before current time");
        }
        pin.options.expire_at = request.expire_at;
    }
    Ok(pin)
}

/// Whether a pin may be removed by itself.
///
/// # Errors
/// When it is a part of another, in the reference's words.
pub fn check_unpin(pin: &Pin) -> Result<(), Refusal> {
    match pin.kind {
        PinType::Data | PinType::Meta => Ok(()),
        PinType::Shard => refuse("cannot unpin a shard directly. Unpin content root CID instead"),
        PinType::ClusterDag => refuse("cannot unpin a Cluster DAG directly. Unpin content root CID instead"),
        PinType::Bad => refuse("unrecognized pin type"),
    }
}

#[cfg(test)]
mod tests;

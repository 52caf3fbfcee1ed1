//! The rules, one by one.

use super::*;

const DEFAULTS: DefaultFactors = DefaultFactors { min: -1, max: -1 };

fn now() -> Timestamp {
    Timestamp::from_unix(1_000, 0)
}

fn pin(min: i32, max: i32) -> Pin {
    let options = PinOptions { replication_factor_min: min, replication_factor_max: max, ..PinOptions::default() };
    Pin::new("QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN".parse().expect("a CID"), options)
}

fn refused(pin: Pin, existing: Option<&Pin>) -> String {
    prepare(pin, existing, DEFAULTS, now()).expect_err("refused").0
}

#[test]
fn factors_are_checked_in_the_reference_s_order() {
    assert_eq!(refused(pin(3, 2), None), "cluster.replication_factor_min is larger than max");
    assert_eq!(refused(pin(-3, 2), None), "cluster.replication_factor_min is wrong");
    assert_eq!(refused(pin(-3, -2), None), "cluster.replication_factor_min is wrong");
    assert_eq!(refused(pin(-1, 2), None), "cluster.replication_factor_min and max must be -1 when one of them is");
    let ready = prepare(pin(0, 0), None, DefaultFactors { min: 1, max: 2 }, now()).expect("ready");
    assert_eq!((ready.options.replication_factor_min, ready.options.replication_factor_max), (1, 2));
    assert_eq!(ready.timestamp, now());
}

#[test]
fn a_pin_that_has_expired_is_refused() {
    let mut late = pin(1, 1);
    late.options.expire_at = Timestamp::from_unix(999, 0);
    assert_eq!(refused(late, None), "pin.ExpireAt set before current time");
}

#[test]
fn a_recursive_pin_does_not_become_direct_and_a_direct_one_may_become_recursive() {
    let recursive = pin(1, 1);
    let mut direct = pin(1, 1);
    direct.options.mode = PinMode::Direct;
    direct.max_depth = 0;
    assert!(refused(direct.clone(), Some(&recursive)).starts_with("cannot repin a CID which is already pinned"));
    assert!(prepare(recursive, Some(&direct), DEFAULTS, now()).is_ok());
}

#[test]
fn an_update_copies_everything_but_name_and_expiry() {
    let mut existing = pin(2, 3);
    existing.options.name = "old".into();
    let to: Cid = "QmW3J3czdUzxRaaN31Gtu5T1U5br3t631b8AHdvxHdsHWg".parse().expect("a CID");

    let updated = update(&existing, to, &PinOptions::default(), now()).expect("updated");
    assert_eq!((updated.cid, updated.options.name.as_str()), (to, "old"));
    assert_eq!(updated.options.pin_update, Some(existing.cid));
    assert_eq!(updated.options.replication_factor_max, 3);

    existing.kind = PinType::Shard;
    assert_eq!(
        update(&existing, to, &PinOptions::default(), now()).expect_err("refused").0,
        "this pin type cannot be updated"
    );
    assert!(check_unpin(&existing).is_err());
}

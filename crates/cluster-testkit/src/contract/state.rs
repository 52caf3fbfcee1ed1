//! What every [`State`] must do.

use super::{cid, pin, told};
use bytes::Bytes;
use cluster_component::component::{PinsetChange, State, StateRead};
use cluster_component::errors::StateError;
use cluster_types::{Cid, Pin, PinsetDigest};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Runs the suite; each part has a state of its own.
///
/// # Panics
/// When the state does not keep the contract.
pub async fn run<S: State>(make: &mut dyn FnMut() -> Arc<S>) {
    an_empty_one_has_nothing(&*make());
    changes_take_effect_in_order(&*make());
    pages_are_in_the_listing_order(&*make());
    lists_are_whole(make()).await;
    freezing_sees_one_moment(&*make());
    replacing_leaves_nothing_of_before(&*make());
    replacing_cut_short_leaves_no_mark(&*make());
    agrees_with_a_map(&*make());
}

fn put(number: u64, name: &str) -> PinsetChange {
    PinsetChange::Pinned(Arc::new(pin(number, name)))
}

fn mark(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn an_empty_one_has_nothing(state: &dyn State) {
    assert_eq!(state.get(&cid(1)), Ok(None));
    assert_eq!(state.contains(&cid(1)), Ok(false));
    assert_eq!(state.page(None, 10), Ok(Vec::new()));
    assert_eq!((state.len(), state.is_empty(), state.mark()), (Ok(0), Ok(true), Ok(None)));
}

fn changes_take_effect_in_order(state: &dyn State) {
    let changes = [put(1, "old"), put(2, "two"), put(1, "new"), PinsetChange::Resync, PinsetChange::Unpinned(cid(2))];
    state.apply(&changes, mark("first")).expect("applied");

    assert_eq!(state.get(&cid(1)).map(|pin| pin.map(|pin| pin.options.name)), Ok(Some("new".into())));
    assert_eq!((state.contains(&cid(2)), state.len()), (Ok(false), Ok(1)));
    assert_eq!(state.mark(), Ok(Some(mark("first"))));

    // What is not there can be removed, and the same pin put again: the count stays right.
    state.apply(&[PinsetChange::Unpinned(cid(9)), put(1, "again")], mark("second")).expect("applied");
    assert_eq!((state.len(), state.mark()), (Ok(1), Ok(Some(mark("second")))));
    state.apply(&[PinsetChange::Unpinned(cid(1))], mark("third")).expect("applied");
    assert_eq!((state.len(), state.is_empty()), (Ok(0), Ok(true)));
}

fn pages_are_in_the_listing_order(state: &dyn State) {
    let changes: Vec<_> = (0..50).map(|number| put(number, "p")).collect();
    state.apply(&changes, mark("m")).expect("applied");
    let mut expected: Vec<Cid> = (0..50).map(cid).collect();
    expected.sort_by_key(Cid::sort_key);

    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = state.page(after.as_ref(), 7).expect("a page");
        found.extend(page.iter().map(|pin| pin.cid));
        if page.len() < 7 {
            break;
        }
        after = found.last().copied();
    }
    assert_eq!(found, expected);
    assert_eq!(state.page(Some(&expected[49]), 7), Ok(Vec::new()));
    assert_eq!(state.page(None, 0), Ok(Vec::new()));
}

async fn lists_are_whole<S: State>(state: Arc<S>) {
    let changes: Vec<_> = (0..2_500).map(|number| put(number, "p")).collect();
    state.apply(&changes, mark("m")).expect("applied");

    let mut pages = StateRead::list(Arc::clone(&state));
    let mut count = 0;
    while let Some(page) = pages.next().await {
        let page = page.expect("a page");
        assert!(!page.is_empty(), "an empty page was sent");
        count += page.len();
    }
    assert_eq!(count, 2_500);
}

fn freezing_sees_one_moment(state: &dyn State) {
    let changes: Vec<_> = (0..20).map(|number| put(number, "before")).collect();
    state.apply(&changes, mark("before")).expect("applied");

    let mut seen = Vec::new();
    let frozen = state.freeze(&mut |cid, stored| {
        seen.push(told(&Pin::from_proto(stored, Some(*cid)).expect("a pin")));
        Ok(())
    });
    assert_eq!(frozen, Ok(Some(mark("before"))));
    let mut expected: Vec<Cid> = (0..20).map(cid).collect();
    expected.sort_by_key(Cid::sort_key);
    assert_eq!(seen, expected.into_iter().map(|cid| (cid, "before".to_owned())).collect::<Vec<_>>());

    let cut = StateError::Damaged { cid: String::new(), reason: "the visitor says so".into() };
    assert_eq!(state.freeze(&mut |_, _| Err(cut.clone())), Err(cut));
}

fn replacing_leaves_nothing_of_before(state: &dyn State) {
    state.apply(&[put(1, "old"), put(2, "old")], mark("old")).expect("applied");

    state.replace(&mut [pin(2, "new"), pin(3, "new")].into_iter().map(Ok), Some(mark("new"))).expect("replaced");

    assert_eq!((state.contains(&cid(1)), state.len(), state.mark()), (Ok(false), Ok(2), Ok(Some(mark("new")))));
    assert_eq!(state.get(&cid(2)).map(|pin| pin.map(|pin| pin.options.name)), Ok(Some("new".into())));

    state.replace(&mut std::iter::empty(), None).expect("emptied");
    assert_eq!((state.len(), state.mark()), (Ok(0), Ok(None)));
}

fn replacing_cut_short_leaves_no_mark(state: &dyn State) {
    state.apply(&[put(1, "old")], mark("old")).expect("applied");
    let broken = StateError::Damaged { cid: String::new(), reason: "cut".into() };

    let pins = [Ok(pin(2, "new")), Err(broken.clone())];
    assert_eq!(state.replace(&mut pins.into_iter(), Some(mark("new"))), Err(broken));
    assert_eq!(state.mark(), Ok(None));
}

/// Many changes, with the same done to a `BTreeMap`.
fn agrees_with_a_map(state: &dyn State) {
    let mut model: BTreeMap<Vec<u8>, (Cid, String)> = BTreeMap::new();
    // Two pinsets are the same just when their digests are.
    let mut digests: Vec<(PinsetDigest, Vec<(Cid, String)>)> = vec![(PinsetDigest::default(), Vec::new())];
    let mut chance = 1u64;
    for round in 0..200u64 {
        let mut changes = Vec::new();
        for _ in 0..round % 7 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (chance >> 33) % 30;
            if (chance >> 20).is_multiple_of(3) {
                model.remove(&cid(number).sort_key());
                changes.push(PinsetChange::Unpinned(cid(number)));
            } else {
                let name = format!("{round}");
                model.insert(cid(number).sort_key(), (cid(number), name.clone()));
                changes.push(put(number, &name));
            }
        }
        state.apply(&changes, Bytes::from(round.to_string())).expect("applied");
        let found: Vec<_> = state.page(None, 100).expect("a page").iter().map(told).collect();
        assert_eq!(found, model.values().cloned().collect::<Vec<_>>(), "round {round}");
        assert_eq!(state.len(), Ok(model.len() as u64), "round {round}");
        let digest = state.digest().expect("a digest");
        for (other, pins) in &digests {
            assert_eq!(digest == *other, found == *pins, "round {round}: {digest} and {other}");
        }
        digests.push((digest, found));
    }
}

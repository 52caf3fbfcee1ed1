//! A cluster as its users see it: any peer takes orders, what was acknowledged stays, leaders die, peers come and go.

use crate::world::{Kind, World, peer};
use cluster_component::component::{Consensus, Leadership, PinsetChange};
use cluster_component::errors::ConsensusError;
use cluster_testkit::contract::{self, cid, pin};
use futures::{FutureExt, StreamExt};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

pub(crate) async fn pin_all(world: &World, at: usize, numbers: std::ops::Range<u64>) {
    let consensus = world.at(at);
    let orders = numbers.map(|number| {
        let consensus = consensus.clone();
        async move { consensus.log_pin(pin(number, "p")).await }
    });
    for done in futures::future::join_all(orders).await {
        done.expect("pinned");
    }
}

pub(crate) async fn has_all(world: &World, at: usize, numbers: std::ops::Range<u64>) {
    world.at(at).wait_for_sync().await.expect("in step");
    let state = world.at(at).state();
    for number in numbers {
        assert_eq!(state.contains(&cid(number)), Ok(true), "peer {at} lost {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_peer_keeps_the_contract_with_either_state() {
    for kind in [Kind::Disk, Kind::Memory] {
        let world = World::started(1, 1, kind).await;
        contract::consensus::run(&contract::consensus::Subject { consensus: world.at(0), me: peer(1) }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn any_peer_takes_orders_and_sees_them_at_once() {
    let mut world = World::started(2, 3, Kind::Disk).await;
    for at in 0..3u64 {
        let consensus = world.at(at as usize);
        let mut changes = consensus.changes();
        consensus.log_pin(pin(at, "p")).await.expect("pinned");
        assert_eq!(consensus.state().contains(&cid(at)), Ok(true), "what it ordered shows at the peer that ordered it");
        assert!(matches!(changes.next().now_or_never(), Some(Some(PinsetChange::Pinned(_)))));
    }
    for at in 0..3 {
        has_all(&world, at, 0..3).await;
        assert_eq!(world.at(at).peers().await.expect("members"), (1..=3).map(peer).collect());
    }
    world.stop_all().await;
}

#[tokio::test(start_paused = true)]
async fn many_orders_share_entries_and_syncs() {
    let mut world = World::started(3, 3, Kind::Disk).await;
    let leader = world.leader().await;
    let before = world.peers[leader].store.syncs();
    pin_all(&world, (leader + 1) % 3, 0..1_000).await;
    let syncs = world.peers[leader].store.syncs() - before;
    assert!(syncs < 100, "{syncs} syncs for 1000 pins that waited together");
    has_all(&world, leader, 0..1_000).await;
    world.stop_all().await;
}

async fn until_it_has(world: &World, at: usize, number: u64) {
    let asked = Instant::now();
    while world.at(at).state().contains(&cid(number)) != Ok(true) {
        assert!(asked.elapsed() < Duration::from_millis(400), "{number} is not at peer {at}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// That its order is confirmed a follower hears at once, and sees it with the next message of the leader only: so long the
/// order waits, and those after it waited too.
#[tokio::test(start_paused = true)]
async fn the_next_order_of_a_follower_does_not_wait_until_the_one_before_shows() {
    let mut world = World::started(4, 3, Kind::Disk).await;
    let leader = world.leader().await;
    let follower = (leader + 1) % 3;
    let order = |number| {
        let consensus = world.at(follower);
        tokio::spawn(async move { consensus.log_pin(pin(number, "p")).await })
    };
    *world.lan.deaf.lock().expect("no panic") = Some(world.peers[follower].id);

    let first = order(1);
    until_it_has(&world, leader, 1).await;
    let second = order(2);
    until_it_has(&world, leader, 2).await;
    assert!(!first.is_finished() && !second.is_finished(), "neither shows where it was ordered");

    *world.lan.deaf.lock().expect("no panic") = None;
    for (number, order) in [(1, first), (2, second)] {
        order.await.expect("no panic").expect("pinned");
        assert_eq!(world.at(follower).state().contains(&cid(number)), Ok(true), "what it ordered shows");
    }
    world.stop_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_is_replaced_within_three_seconds_and_nothing_is_lost() {
    for (seed, kind) in [(10, Kind::Disk), (11, Kind::Memory), (12, Kind::Disk), (13, Kind::Memory)] {
        let mut world = World::started(seed, 3, kind).await;
        pin_all(&world, 0, 0..50).await;
        let leader = world.leader().await;
        let other = (leader + 1) % 3;

        world.crash(leader).await;
        let died = Instant::now();
        pin_all(&world, other, 50..60).await;
        assert!(died.elapsed() < Duration::from_secs(3), "writes again after {:?}", died.elapsed());

        world.start(leader).await.expect("started again");
        for at in 0..3 {
            has_all(&world, at, 0..60).await;
        }
        world.stop_all().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_majority_acknowledges_nothing_and_gives_way() {
    let mut world = World::started(20, 3, Kind::Disk).await;
    let old = world.leader().await;
    let others: Vec<usize> = (0..3).filter(|at| *at != old).collect();
    world.part(&[old]);

    let refused = world.at(old).log_pin(pin(1, "alone")).await;
    assert!(matches!(&refused, Err(ConsensusError::Busy(_) | ConsensusError::NoLeader(_))), "{refused:?}");
    assert!(world.at(old).wait_for_sync().await.is_err(), "it may not read what others may have changed");
    assert_eq!(world.at(old).leadership(), Leadership::Electing);
    let new = world.leader_of(&others).await;
    assert_ne!(new, old);
    pin_all(&world, others[0], 10..20).await;

    world.heal();
    assert_ne!(world.leader().await, old);
    for at in 0..3 {
        has_all(&world, at, 10..20).await;
    }
    world.stop_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_parted_is_missed_by_nobody_and_catches_up() {
    let mut world = World::started(21, 3, Kind::Memory).await;
    let leader = world.leader().await;
    let alone = (leader + 1) % 3;
    world.part(&[alone]);

    pin_all(&world, leader, 0..30).await;
    let refused = world.at(alone).log_pin(pin(99, "alone")).await;
    assert!(refused.is_err(), "nobody can have confirmed it");
    world.heal();

    for at in 0..3 {
        has_all(&world, at, 0..30).await;
    }
    assert_eq!(world.leader().await, leader, "a peer that comes back does not depose the leader");
    world.stop_all().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_survives_the_loss_of_power_everywhere() {
    for kind in [Kind::Disk, Kind::Memory] {
        let mut world = World::new(30, 3, kind);
        world.config.snapshot_threshold = 5;
        world.config.trailing_logs = 2;
        for at in 0..3 {
            world.start(at).await.expect("started");
        }
        for round in 0..5u64 {
            for number in round * 10..round * 10 + 10 {
                world.at((number % 3) as usize).log_pin(pin(number, "p")).await.expect("pinned");
            }
            world.at(0).log_unpin(&cid(round * 10)).await.expect("unpinned");
            for at in 0..3 {
                world.crash(at).await;
            }
            for at in 0..3 {
                world.start(at).await.expect("started again");
            }
            for at in 0..3 {
                world.at(at).ready().await.expect("ready");
                let state = world.at(at).state();
                assert_eq!(state.len(), Ok((round + 1) * 9), "{kind:?}, peer {at}, round {round}");
                assert_eq!(state.contains(&cid(round * 10)), Ok(false));
            }
        }
        world.stop_all().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_far_behind_catches_up_by_snapshot() {
    for kind in [Kind::Disk, Kind::Memory] {
        let mut world = World::new(40, 3, kind);
        world.config.snapshot_threshold = 10;
        world.config.trailing_logs = 0;
        for at in 0..3 {
            world.start(at).await.expect("started");
        }
        let leader = world.leader().await;
        let behind = (leader + 1) % 3;
        let mut changes = world.at(behind).changes();
        world.part(&[behind]);
        for number in 0..3_000 {
            world.at(leader).log_pin(pin(number, &"n".repeat(200))).await.expect("pinned");
        }
        let began = Instant::now();
        world.heal();

        has_all(&world, behind, 0..3_000).await;
        assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
        let mut told = false;
        while let Some(Some(change)) = changes.next().now_or_never() {
            told |= change == PinsetChange::Resync;
        }
        assert!(told, "{kind:?}: a snapshot was taken up, and those who listen compare everything");
        world.crash(behind).await;
        world.start(behind).await.expect("started again");
        has_all(&world, behind, 0..3_000).await;
        world.stop_all().await;
    }
}

/// What a peer that is behind has of a snapshot is not sent again for one answer that was lost.
#[tokio::test(start_paused = true)]
async fn a_piece_of_a_snapshot_whose_answer_is_lost_is_sent_again_alone() {
    let mut world = World::new(41, 3, Kind::Disk);
    world.config.snapshot_threshold = 700;
    world.config.trailing_logs = 0;
    for at in 0..3 {
        world.start(at).await.expect("started");
    }
    let leader = world.leader().await;
    let behind = (leader + 1) % 3;
    world.part(&[behind]);
    for number in 0..750 {
        world.at(leader).log_pin(pin(number, &"n".repeat(2_000))).await.expect("pinned");
    }
    *world.lan.lost_piece.lock().expect("no panic") = Some(3);
    world.heal();

    has_all(&world, behind, 0..750).await;
    let sent = world.lan.pieces.lock().expect("no panic").clone();
    let after = sent.iter().skip_while(|piece| **piece != 3).nth(1);
    assert_eq!(after, Some(&3), "it did not begin anew: {sent:?}");
    world.stop_all().await;
}

#[tokio::test(start_paused = true)]
async fn peers_are_taken_in_and_put_out() {
    let mut world = World::new(50, 1, Kind::Disk);
    world.config.snapshot_threshold = 10;
    world.config.trailing_logs = 0;
    world.start(0).await.expect("started");
    world.at(0).ready().await.expect("ready");
    pin_all(&world, 0, 0..500).await;
    for number in 500..520 {
        world.at(0).log_pin(pin(number, "p")).await.expect("pinned");
    }

    for number in 2..=4 {
        let new = world.stage(number).await;
        // Any member passes the order on to the leader.
        let through = usize::from(number) - 2;
        world.at(through).add_peer(peer(number)).await.expect("taken in");
        world.at(new).ready().await.expect("ready");
        has_all(&world, new, 0..520).await;
    }
    assert_eq!(world.at(0).peers().await.expect("members"), (1..=4).map(peer).collect());
    world.at(3).add_peer(peer(2)).await.expect("taking in a member again changes nothing");

    let leader = world.leader().await;
    let id = world.peers[leader].id;
    let other = (leader + 1) % 4;
    world.at(other).remove_peer(&id).await.expect("the leader can be put out");
    let left: Vec<usize> = (0..4).filter(|at| *at != leader).collect();
    world.leader_of(&left).await;
    pin_all(&world, other, 600..610).await;
    for at in &left {
        has_all(&world, *at, 0..520).await;
        assert!(!world.at(*at).peers().await.expect("members").contains(&id));
    }
    assert!(!world.at(leader).peers().await.expect("members").contains(&id), "it knows that it is no member any more");
    world.stop_all().await;
}

/// What it remembers of the leader is what it knew before: that one may be dead by now.
#[tokio::test(start_paused = true)]
async fn a_peer_that_starts_while_the_leader_it_knew_is_dead_waits_for_another() {
    let mut world = World::started(58, 3, Kind::Disk).await;
    pin_all(&world, 0, 0..10).await;
    let leader = world.leader().await;
    let other = (leader + 1) % 3;
    world.crash(other).await;
    world.crash(leader).await;

    world.start(other).await.expect("started again");
    world.at(other).ready().await.expect("ready, with another leader");
    has_all(&world, other, 0..10).await;
    let left = (leader + 2) % 3;
    world.at(other).remove_peer(&world.peers[leader].id).await.expect("the dead one is put out");
    assert_eq!(world.at(left).peers().await.expect("members").len(), 2);
    world.stop_all().await;
}

/// A peer that knows no leader asks whom it was told to, who need not be the leader.
#[tokio::test(start_paused = true)]
async fn a_peer_asks_to_be_taken_in_by_itself() {
    let mut world = World::started(57, 3, Kind::Memory).await;
    pin_all(&world, 0, 0..20).await;
    let new = world.stage(4).await;
    world.at(new).add_peer(peer(4)).await.expect("taken in");
    world.at(new).ready().await.expect("ready");
    has_all(&world, new, 0..20).await;
    assert_eq!(world.at(0).peers().await.expect("members"), (1..=4).map(peer).collect());
    world.stop_all().await;
}

#[tokio::test(start_paused = true)]
async fn taking_in_a_peer_that_is_not_there_costs_nothing() {
    let mut world = World::started(51, 1, Kind::Disk).await;
    let refused = world.at(0).add_peer(peer(9)).await;
    assert!(matches!(&refused, Err(ConsensusError::Busy(text)) if text.contains("cannot be reached")), "{refused:?}");

    assert_eq!(world.at(0).peers().await.expect("members"), [peer(1)].into());
    pin_all(&world, 0, 0..10).await;
    world.stop_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_while_it_is_taken_in_gets_no_vote() {
    let mut world = World::new(52, 1, Kind::Disk);
    world.config.snapshot_threshold = 10;
    world.config.trailing_logs = 0;
    world.start(0).await.expect("started");
    world.at(0).ready().await.expect("ready");
    for number in 0..300 {
        world.at(0).log_pin(pin(number, "p")).await.expect("pinned");
    }
    let new = world.stage(2).await;
    let leader = world.at(0);
    let adding = tokio::spawn(async move { leader.add_peer(peer(2)).await });
    tokio::time::sleep(Duration::from_millis(3)).await;
    world.part(&[new]);

    let refused = adding.await.expect("no panic");
    assert!(refused.is_err(), "{refused:?}");
    pin_all(&world, 0, 400..410).await;
    assert_eq!(world.at(0).peers().await.expect("members"), [peer(1)].into());
    world.stop_all().await;
}

/// It was started alone once, before it was told of the others: it has a cluster of its own by then.
#[tokio::test(start_paused = true)]
async fn what_another_cluster_says_changes_nothing_at_a_peer_that_it_takes_for_a_member() {
    let mut world = World::new(59, 3, Kind::Disk);
    let members = std::mem::take(&mut world.config.init_peerset);
    world.start(0).await.expect("started");
    world.at(0).ready().await.expect("a cluster of its own");
    pin_all(&world, 0, 0..20).await;
    world.stop(0).await;
    world.config.init_peerset = members;
    for at in [1, 2, 0] {
        world.start(at).await.expect("started");
    }
    world.leader_of(&[1, 2]).await;
    for number in 100..120 {
        let began = Instant::now();
        while world.at(1).log_pin(pin(number, "p")).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "two of three are a majority");
        }
    }

    world.at(0).ready().await.expect("it goes on as it was");
    has_all(&world, 0, 0..20).await;
    assert_eq!(world.at(0).state().len(), Ok(20));
    pin_all(&world, 0, 20..25).await;
    world.stop(0).await;
    world.start(0).await.expect("started again");
    world.at(0).ready().await.expect("ready");
    has_all(&world, 0, 0..25).await;
    assert_eq!(world.at(0).state().len(), Ok(25));
    world.stop_all().await;
}

/// Both that are left want to lead at the same moment, again and again: one of them does soon.
#[tokio::test(start_paused = true)]
async fn sim_a_vote_that_is_split_is_decided_soon_and_nothing_is_lost() {
    for seed in 0..10 {
        let mut world = World::started(70 + seed, 3, Kind::Disk).await;
        pin_all(&world, 0, 0..10).await;
        for round in 1..=3 {
            let leader = world.leader().await;
            let left: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
            world.lan.split.force();
            world.crash(leader).await;
            let began = Instant::now();
            while world.lan.split.seen.load(Ordering::Relaxed) < round {
                assert!(began.elapsed() < Duration::from_secs(30), "seed {seed}: no two wanted to lead");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }

            let split = Instant::now();
            pin_all(&world, left[0], round * 10..round * 10 + 10).await;
            assert!(split.elapsed() < Duration::from_secs(5), "seed {seed}: decided after {:?}", split.elapsed());
            world.start(leader).await.expect("started again");
            for at in 0..3 {
                has_all(&world, at, 0..round * 10 + 10).await;
            }
        }
        world.stop_all().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_of_another_cluster_is_not_taken_in() {
    let mut world = World::started(53, 1, Kind::Disk).await;
    world.config.init_peerset.clear();
    world.peers.push(crate::world::Peer::new(9));
    world.start(1).await.expect("started");
    world.at(1).ready().await.expect("a cluster of its own");
    world.at(1).log_pin(pin(5, "theirs")).await.expect("pinned");

    let refused = world.at(0).add_peer(peer(9)).await;
    assert!(matches!(&refused, Err(ConsensusError::Busy(text)) if text.contains("another cluster")), "{refused:?}");
    assert_eq!(world.at(1).state().contains(&cid(5)), Ok(true), "nothing of it was lost");
    world.stop_all().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_member_cannot_be_put_out() {
    let mut world = World::started(54, 1, Kind::Disk).await;
    assert!(matches!(world.at(0).remove_peer(&peer(1)).await, Err(ConsensusError::Busy(_))));
    pin_all(&world, 0, 0..3).await;
    world.stop_all().await;
}

/// Without enough members nobody hangs: each is told who must run.
#[tokio::test(start_paused = true)]
async fn a_start_without_a_majority_ends_in_a_clear_error() {
    let mut world = World::new(55, 3, Kind::Disk);
    world.start(0).await.expect("started");

    let began = Instant::now();
    let error = world.at(0).ready().await.expect_err("nobody else runs");
    assert!(began.elapsed() < Duration::from_secs(20));
    let text = error.to_string();
    assert!(text.contains("2 of the members") && text.contains(&peer(2).to_string()), "{text}");
    assert!(world.at(0).log_pin(pin(1, "p")).await.is_err());
    world.stop_all().await;
}

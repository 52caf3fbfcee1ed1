//! A world: peers, their network and what befalls them, all from one seed.

use super::ledger::Ledger;
use super::peer::{Directory, Ground, Peer, Setup};
use cluster_component::component::Cluster;
use cluster_testkit::invariant::{Expected, WorldView};
use cluster_testkit::net::Faults;
use cluster_testkit::scheduler::Mark;
use cluster_testkit::{Chance, Net, Scheduler};
use cluster_types::{Cid, PeerId, PinOptions};
use std::time::Duration;

/// Healing may take so long. Trackers compare every twelve minutes, and failed pins wait up to ten.
const HEALING_MAX: Duration = Duration::from_secs(40 * 60);

/// How often it is looked whether all is healed.
const HEALING_STEP: Duration = Duration::from_secs(20);

/// What a world gets wrong on purpose, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planted {
    Nothing,
    /// A disk that forgets what it said was durable.
    LyingDisk,
    /// The network never heals.
    Apart,
}

pub(super) struct World {
    seed: u64,
    scheduler: Scheduler,
    net: Net,
    chance: Chance,
    directory: Directory,
    peers: Vec<Peer>,
    ledger: Ledger,
    repins: bool,
    planted: Planted,
    /// The peer that never comes back.
    lost: Option<usize>,
}

impl World {
    pub(super) fn new(seed: u64, planted: Planted) -> Self {
        let scheduler = Scheduler::new(seed);
        let chance = Chance::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(1));
        let net = Net::new(chance.next(), scheduler.clock(0), scheduler.spawner(0));
        let count = 3 + chance.place(2);
        let (factor_min, factor_max) = [(-1, -1), (1, 2), (2, 2), (2, 3)][chance.place(4)];
        let repins = factor_min > 0 && chance.below(2) == 0;
        let setup = Setup { factor_min, factor_max, repins, leaves: false, heedless: false, trusted: vec!["*".into()] };
        let directory = Directory::new(&net);
        let ground = Ground { scheduler: &scheduler, net: &net, chance: &chance, directory: &directory };
        let peers = (0..count).map(|number| Peer::new(number, setup.clone(), &ground)).collect();
        let ledger = Ledger::default();
        let mut world = Self { seed, scheduler, net, chance, directory, peers, ledger, repins, planted, lost: None };
        for number in 0..count {
            world.peers[number].daemon.world().repo.storage_max += world.chance.below(1_000);
            world.start(number);
        }
        world
    }

    pub(super) fn keep_lines(&self) {
        self.scheduler.keep_lines();
    }

    pub(super) fn mark(&self) -> Mark {
        self.scheduler.mark()
    }

    fn start(&mut self, number: usize) {
        let skews = [0, 0, 0, 3, -3, 40, -40, 600, -600];
        self.peers[number].clock.set_ahead(skews[self.chance.place(skews.len())]);
        let ground =
            Ground { scheduler: &self.scheduler, net: &self.net, chance: &self.chance, directory: &self.directory };
        self.peers[number].start(&ground);
        self.scheduler.note(|| format!("peer {number} starts"));
    }

    /// Lives through a history of faults and then heals.
    ///
    /// # Errors
    /// What did not hold, and when.
    pub(super) fn live(&mut self) -> Result<(), String> {
        let steps = 10 + self.chance.below(16);
        self.scheduler.run_for(Duration::from_secs(2));
        for _ in 0..steps {
            self.befall();
            let span = Duration::from_millis(50 + self.chance.below(6_000));
            self.scheduler.run_for(span);
            self.view().check_safety().map_err(|what| self.told(&what))?;
        }
        self.heal()
    }

    fn told(&self, what: &str) -> String {
        format!("seed {}, after {:?}: {what}", self.seed, self.scheduler.now())
    }

    fn heal(&mut self) -> Result<(), String> {
        self.scheduler.note(|| "healing begins".into());
        self.net.set_faults(Faults::NONE);
        if self.planted != Planted::Apart {
            self.net.heal();
        }
        for number in 0..self.peers.len() {
            self.peers[number].daemon.set_down(false);
            self.peers[number].daemon.world().unpinnable.clear();
            if self.peers[number].is_disk_broken() {
                self.crash(number);
            }
            if !self.peers[number].is_up() && self.lost != Some(number) {
                self.start(number);
            }
        }
        let until = self.scheduler.now() + HEALING_MAX;
        loop {
            self.scheduler.run_for(HEALING_STEP);
            let view = self.view();
            view.check_safety().map_err(|what| self.told(&what))?;
            match view.check_healed() {
                Ok(()) => return Ok(()),
                Err(what) if self.scheduler.now() >= until => return Err(self.told(&what)),
                Err(_) => {}
            }
        }
    }

    /// One thing happens.
    fn befall(&mut self) {
        let number = self.chance.place(self.peers.len());
        match self.chance.below(100) {
            0..40 => self.pin(number),
            40..58 => self.unpin(number),
            58..66 => self.crash(number),
            66..69 => self.stop(number),
            69..79 => self.restart(),
            79..83 => self.part(),
            83..86 => {
                self.net.heal();
                self.scheduler.note(|| "the network is whole".into());
            }
            86..91 => self.disturb(),
            91..94 => {
                let down = self.chance.below(2) == 0;
                self.peers[number].daemon.set_down(down);
                self.scheduler.note(|| format!("daemon {number} is down: {down}"));
            }
            94..97 => self.peers[number].break_disk(),
            _ => {
                let ahead = self.chance.below(2_000) as i64 - 1_000;
                self.peers[number].clock.set_ahead(ahead);
                self.scheduler.note(|| format!("the clock of {number} is set to {ahead} s"));
            }
        }
    }

    /// Each peer has CIDs that it alone changes.
    fn cid_of(&self, number: usize) -> Cid {
        let mut bytes = vec![0x01, 0x55, 0x12, 0x20, number as u8, self.chance.below(4) as u8];
        bytes.resize(36, 7);
        Cid::from_bytes(&bytes).expect("a CID")
    }

    fn pin(&mut self, number: usize) {
        let cid = self.cid_of(number);
        let Some(cluster) = self.peers[number].cluster() else { return };
        let mut options = PinOptions { name: format!("{}", self.chance.below(3)), ..PinOptions::default() };
        if self.chance.below(8) == 0 {
            (options.replication_factor_min, options.replication_factor_max) = (1, 1 + self.chance.below(3) as i32);
        }
        let expires = self.chance.below(12) == 0;
        if expires {
            let now = cluster_component::ports::Clock::now(&*self.peers[number].clock).wall;
            options.expire_at = now.saturating_add(Duration::from_secs(5 + self.chance.below(60)));
        }
        self.scheduler.note(|| format!("peer {number} pins {cid}"));
        let (ledger, scheduler, peer) = (self.ledger.clone(), self.scheduler.clone(), self.peers[number].id);
        ledger.ask(cid, peer, expires);
        let order = async move {
            let done = cluster.pin(cid, options).await;
            scheduler.note(|| format!("pinning {cid} ends: {:?}", done.as_ref().map(|pin| &pin.allocations)));
            ledger.answer(&cid, done.ok().map(|_| Expected::Pinned));
        };
        self.scheduler.spawner(0).spawn("order", Box::pin(order));
    }

    fn unpin(&mut self, number: usize) {
        let cid = self.cid_of(number);
        let Some(cluster) = self.peers[number].cluster() else { return };
        self.scheduler.note(|| format!("peer {number} unpins {cid}"));
        let (ledger, scheduler, peer) = (self.ledger.clone(), self.scheduler.clone(), self.peers[number].id);
        ledger.ask(cid, peer, false);
        let order = async move {
            let done = cluster.unpin(&cid).await;
            scheduler.note(|| format!("unpinning {cid} ends: {:?}", done.as_ref().map(|_| ())));
            ledger.answer(&cid, done.ok().map(|_| Expected::Gone));
        };
        self.scheduler.spawner(0).spawn("order", Box::pin(order));
    }

    fn crash(&mut self, number: usize) {
        let ground =
            Ground { scheduler: &self.scheduler, net: &self.net, chance: &self.chance, directory: &self.directory };
        self.peers[number].crash(&ground, self.planted == Planted::LyingDisk);
        self.scheduler.note(|| format!("peer {number} crashes"));
        // Where others take over, one peer may be gone for good, if enough are left to hold everything.
        let may_be_lost = self.repins && self.lost.is_none() && self.peers.len() > 3;
        if may_be_lost && self.chance.below(2) == 0 {
            self.lost = Some(number);
            self.ledger.forget(&self.peers[number].id);
        }
    }

    fn stop(&mut self, number: usize) {
        if self.peers[number].is_disk_broken() {
            return self.crash(number);
        }
        let ground =
            Ground { scheduler: &self.scheduler, net: &self.net, chance: &self.chance, directory: &self.directory };
        self.peers[number].stop(&ground);
        self.scheduler.note(|| format!("peer {number} stops"));
    }

    fn restart(&mut self) {
        let down = (0..self.peers.len()).filter(|n| !self.peers[*n].is_up() && self.lost != Some(*n));
        let down: Vec<usize> = down.collect();
        if !down.is_empty() {
            self.start(down[self.chance.place(down.len())]);
        }
    }

    fn part(&mut self) {
        let (mut one, mut other): (Vec<PeerId>, Vec<PeerId>) = (Vec::new(), Vec::new());
        for peer in &self.peers {
            if self.chance.below(2) == 0 { one.push(peer.id) } else { other.push(peer.id) }
        }
        self.net.partition(&[&one, &other]);
        self.scheduler.note(|| format!("the network parts: {} and {}", one.len(), other.len()));
    }

    fn disturb(&mut self) {
        let faults = Faults {
            lost: self.chance.below(400),
            twice: self.chance.below(300),
            delay_min_ms: 1,
            delay_max_ms: 1 + self.chance.below(3_000),
        };
        self.net.set_faults(faults);
        self.scheduler.note(|| format!("{faults:?}"));
    }

    fn view(&self) -> WorldView {
        WorldView {
            peers: self.peers.iter().filter_map(|peer| Some((peer.id, peer.view(&self.directory)?))).collect(),
            expected: self.ledger.expected(self.repins),
            repins: self.repins,
            one_is_lost: self.lost.is_some(),
        }
    }
}

/// Peers and tasks hold each other.
impl Drop for World {
    fn drop(&mut self) {
        for peer in &mut self.peers {
            peer.crash(
                &Ground {
                    scheduler: &self.scheduler,
                    net: &self.net,
                    chance: &self.chance,
                    directory: &self.directory,
                },
                false,
            );
        }
        self.scheduler.end();
    }
}

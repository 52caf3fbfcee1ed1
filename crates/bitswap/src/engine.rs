//! The protocol at work: streams in and out, wants that are waited for, blocks that are served.

use crate::Version;
use crate::frame::{FrameError, read_body, read_length, write_message};
use crate::ledger::Ledger;
use crate::message::{BLOCK_MAX, Message, Presence, Want};
use crate::outbox::Outbox;
use crate::wants::{Ask, Wants};
use bytes::Bytes;
use cid::Cid;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::io::{AsyncRead, AsyncWrite};
use futures::stream::FuturesUnordered;
use libp2p_identity::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Blocks that can be wanted at a time; more are refused.
pub const WANTS_MAX: usize = 16_384;

/// Bytes of blocks in one message; one block more than this is sent too.
const BLOCKS_BYTES: usize = 512 << 10;

/// Blocks in one message.
const BLOCKS_COUNT: usize = 256;

/// How often those who let us wait are looked at, and blocks are looked for that peers wanted and we did not have.
const TICK: Duration = Duration::from_millis(250);

/// How long a stream may take to open, or a message to be taken.
const SEND_MAX: Duration = Duration::from_secs(30);

/// Threads that look for blocks and read them for peers at a time: however many ask, the process has some left for itself.
const READS_AT_ONCE: usize = 16;

/// How long a message may take to come, once it has begun: until then it takes memory.
const RECEIVE_MAX: Duration = Duration::from_secs(60);

/// After what silence a stream to a peer is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A stream of bytes both ways.
pub trait Link: AsyncRead + AsyncWrite + Send + Unpin {}

impl<L: AsyncRead + AsyncWrite + Send + Unpin> Link for L {}

/// The host that streams go through.
pub trait Network: Send + Sync + 'static {
    /// Who is connected.
    fn peers(&self) -> BTreeSet<PeerId>;

    /// Opens a stream of the newest of the [`PROTOCOLS`](crate::PROTOCOLS) that the peer speaks.
    fn open(&self, peer: PeerId) -> BoxFuture<'static, io::Result<(Box<dyn Link>, Version)>>;
}

/// The blocks that are served. May read a disk: it is asked where that keeps nobody waiting.
pub trait Blocks: Send + Sync + 'static {
    /// A block's bytes, if it is here.
    fn get(&self, cid: &Cid) -> Option<Bytes>;

    /// A block's size, if it is here.
    fn size(&self, cid: &Cid) -> Option<usize> {
        self.get(cid).map(|data| data.len())
    }
}

/// So much is wanted already that nothing more can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{WANTS_MAX} blocks are being fetched already: try again later")]
pub struct Busy;

/// Bitswap with everybody who is connected.
pub struct Bitswap {
    network: Arc<dyn Network>,
    blocks: Arc<dyn Blocks>,
    state: Mutex<State>,
    /// Who may look for blocks or read them: see [`READS_AT_ONCE`].
    reads: Semaphore,
    /// Outboxes have something for whom no task sends yet.
    due: Notify,
    began: Instant,
}

#[derive(Default)]
struct State {
    wants: Wants<PeerId>,
    waiting: BTreeMap<Cid, Waiting>,
    outboxes: BTreeMap<PeerId, Outbox>,
}

struct Waiting {
    found: broadcast::Sender<Bytes>,
    callers: usize,
}

impl std::fmt::Debug for Bitswap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bitswap").field("wants", &self.state().wants.len()).finish_non_exhaustive()
    }
}

/// Ends a want when its caller has the block or gives up.
struct Caller<'a> {
    bitswap: &'a Bitswap,
    cid: Cid,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        let mut state = self.bitswap.state();
        let Some(waiting) = state.waiting.get_mut(&self.cid) else { return };
        waiting.callers -= 1;
        if waiting.callers == 0 {
            state.waiting.remove(&self.cid);
            let mut asks = Vec::new();
            state.wants.cancel(&self.cid, &mut asks);
            self.bitswap.put(&mut state, asks);
        }
    }
}

impl Bitswap {
    /// Bitswap that does nothing until it is [run](Self::run).
    #[must_use]
    pub fn new(network: Arc<dyn Network>, blocks: Arc<dyn Blocks>) -> Self {
        Self {
            network,
            blocks,
            state: Mutex::default(),
            reads: Semaphore::new(READS_AT_ONCE),
            due: Notify::new(),
            began: Instant::now(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Gets a block of anybody who is connected or will be. It waits for as long as the caller does. *Cancel safety:*
    /// dropped, the block is no longer wanted.
    ///
    /// # Errors
    /// When too much is wanted already.
    pub async fn get(&self, cid: Cid) -> Result<Bytes, Busy> {
        let (mut found, _caller) = self.want(cid)?;
        loop {
            match found.recv().await {
                Ok(data) => return Ok(data),
                // The channel holds the one block there is; its sender lives as long as a caller does.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Whether any block is waited for.
    #[must_use]
    pub fn is_wanting(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    /// Who of those who are connected gave the last blocks.
    #[must_use]
    pub fn givers(&self) -> BTreeSet<PeerId> {
        self.state().wants.givers().iter().copied().collect()
    }

    fn want(&self, cid: Cid) -> Result<(broadcast::Receiver<Bytes>, Caller<'_>), Busy> {
        let peers = self.network.peers();
        let mut state = self.state();
        if let Some(waiting) = state.waiting.get_mut(&cid) {
            waiting.callers += 1;
            return Ok((waiting.found.subscribe(), Caller { bitswap: self, cid }));
        }
        if state.waiting.len() >= WANTS_MAX {
            return Err(Busy);
        }
        let (found, receiver) = broadcast::channel(1);
        state.waiting.insert(cid, Waiting { found, callers: 1 });
        let (mut asks, now) = (Vec::new(), self.now());
        state.wants.connected(peers, now, &mut asks);
        state.wants.want(cid, now, &mut asks);
        self.put(&mut state, asks);
        drop(state);
        Ok((receiver, Caller { bitswap: self, cid }))
    }

    /// Puts what is to be asked where it is sent from.
    fn put(&self, state: &mut State, asks: Vec<Ask<PeerId>>) {
        for Ask { peer, entry } in asks {
            let outbox = state.outboxes.entry(peer).or_default();
            outbox.put(entry);
            self.wake(outbox);
        }
    }

    fn wake(&self, outbox: &Outbox) {
        if outbox.running {
            outbox.wake.notify_one();
        } else {
            self.due.notify_one();
        }
    }

    /// Takes messages of a stream that a peer opened, until it ends.
    pub async fn serve(self: Arc<Self>, peer: PeerId, mut stream: impl AsyncRead + Unpin) {
        loop {
            match next_message(&mut stream).await {
                Ok(Some(message)) => self.take(peer, message).await,
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%peer, %error, "a stream of bitswap ended");
                    return;
                }
            }
        }
    }

    async fn take(self: &Arc<Self>, peer: PeerId, message: Message) {
        let sizes = self.sizes(message.wants.iter().filter(|entry| !entry.cancel).map(|entry| entry.cid)).await;
        let now = self.now();
        let mut state = self.state();
        let mut asks = Vec::new();
        for (cid, data) in &message.blocks {
            if state.wants.block(peer, cid, &mut asks)
                && let Some(waiting) = state.waiting.get(cid)
            {
                let _all_gave_up = waiting.found.send(data.clone());
            }
        }
        for (cid, presence) in &message.presences {
            match presence {
                Presence::Have => state.wants.have(peer, cid, now, &mut asks),
                Presence::DontHave => state.wants.dont_have(peer, cid, now, &mut asks),
            }
        }
        self.put(&mut state, asks);
        if message.full || !message.wants.is_empty() {
            let outbox = state.outboxes.entry(peer).or_default();
            outbox.ledger.take(&message, |cid| sizes.get(cid).copied());
            if outbox.is_due() {
                self.wake(outbox);
            }
        }
    }

    /// The sizes of those blocks that are here.
    async fn sizes(self: &Arc<Self>, cids: impl Iterator<Item = Cid>) -> BTreeMap<Cid, usize> {
        let cids: Vec<Cid> = cids.collect();
        if cids.is_empty() {
            return BTreeMap::new();
        }
        let blocks = Arc::clone(&self.blocks);
        let size = move |cid: Cid| blocks.size(&cid).filter(|size| *size <= BLOCK_MAX).map(|size| (cid, size));
        self.reading(move || cids.into_iter().filter_map(size).collect()).await
    }

    /// Sends what is to be sent, for as long as it is polled. To be run once.
    pub async fn run(self: Arc<Self>) {
        let mut senders = FuturesUnordered::new();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // New peers first: it costs nothing; then the senders, which are bounded by what is due.
            tokio::select! {
                biased;
                () = self.due.notified() => {
                    for (peer, wake) in self.without_sender() {
                        senders.push(Arc::clone(&self).send_to(peer, wake));
                    }
                }
                _ = ticks.tick() => self.tick().await,
                Some(()) = senders.next() => {}
            }
        }
    }

    fn without_sender(&self) -> Vec<(PeerId, Arc<Notify>)> {
        let mut state = self.state();
        let idle = state.outboxes.iter_mut().filter(|(_, outbox)| !outbox.running && outbox.is_due());
        idle.map(|(peer, outbox)| {
            outbox.running = true;
            (*peer, Arc::clone(&outbox.wake))
        })
        .collect()
    }

    async fn tick(self: &Arc<Self>) {
        let peers = self.network.peers();
        let unmet: Vec<(PeerId, Cid, Want)> = {
            let (mut state, now, mut asks) = (self.state(), self.now(), Vec::new());
            if !state.wants.is_empty() {
                state.wants.connected(peers.clone(), now, &mut asks);
                state.wants.tick(now, &mut asks);
                self.put(&mut state, asks);
            }
            let is_needed = |outbox: &Outbox| outbox.is_due() || !outbox.ledger.is_empty();
            state.outboxes.retain(|peer, outbox| peers.contains(peer) && is_needed(outbox) || outbox.running);
            let unmet = |(peer, outbox): (&PeerId, &Outbox)| {
                let peer = *peer;
                outbox.ledger.unmet().into_iter().map(move |(cid, want)| (peer, cid, want))
            };
            state.outboxes.iter().flat_map(unmet).collect()
        };
        let wanted: BTreeSet<Cid> = unmet.iter().map(|(_, cid, _)| *cid).collect();
        let sizes = self.sizes(wanted.into_iter()).await;
        if sizes.is_empty() {
            return;
        }
        let mut state = self.state();
        for (peer, cid, want) in unmet {
            if let (Some(size), Some(outbox)) = (sizes.get(&cid), state.outboxes.get_mut(&peer)) {
                outbox.ledger.meet(cid, want, *size);
                self.wake(outbox);
            }
        }
    }

    /// Sends to one peer over one stream, until there has been nothing to send for long or the peer cannot be reached.
    async fn send_to(self: Arc<Self>, peer: PeerId, wake: Arc<Notify>) {
        let mut stream = None;
        loop {
            let message = self.next_message(peer).await;
            if message.is_empty() {
                if timeout(IDLE_MAX, wake.notified()).await.is_err() && self.rests(peer) {
                    return;
                }
                continue;
            }
            if let Err(error) = self.send(peer, &mut stream, &message).await {
                tracing::debug!(%peer, %error, "a message of bitswap was not sent");
                return self.give_up(peer);
            }
        }
    }

    /// Sends a message. A stream that broke is opened anew once: the peer may have closed it since.
    async fn send(
        &self,
        peer: PeerId,
        stream: &mut Option<(Box<dyn Link>, Version)>,
        message: &Message,
    ) -> io::Result<()> {
        if let Some((link, version)) = stream
            && matches!(timeout(SEND_MAX, write_message(link, message, *version)).await, Ok(Ok(())))
        {
            return Ok(());
        }
        let (mut link, version) = timeout(SEND_MAX, self.network.open(peer)).await??;
        timeout(SEND_MAX, write_message(&mut link, message, version)).await??;
        *stream = Some((link, version));
        Ok(())
    }

    /// What a peer is to be told next. Blocks are read as late as this: what is owed takes no memory.
    async fn next_message(self: &Arc<Self>, peer: PeerId) -> Message {
        let (wants, presences, cids) = {
            let mut state = self.state();
            let Some(outbox) = state.outboxes.get_mut(&peer) else { return Message::default() };
            let wants = outbox.take_entries();
            let (presences, cids) = outbox.ledger.next(BLOCKS_COUNT);
            (wants, presences, cids)
        };
        let (blocks, rest) = self.read(cids).await;
        if !rest.is_empty()
            && let Some(outbox) = self.state().outboxes.get_mut(&peer)
        {
            outbox.ledger.put_back(rest);
        }
        Message { wants, presences, blocks, ..Message::default() }
    }

    /// Reads blocks until a message is full; gives back the names of the others.
    async fn read(self: &Arc<Self>, cids: Vec<Cid>) -> (Vec<(Cid, Bytes)>, Vec<Cid>) {
        if cids.is_empty() {
            return Default::default();
        }
        let blocks = Arc::clone(&self.blocks);
        let read = move || {
            let (mut read, mut bytes, mut cids) = (Vec::new(), 0, cids.into_iter());
            while bytes < BLOCKS_BYTES
                && let Some(cid) = cids.next()
            {
                // It may be gone since.
                if let Some(data) = blocks.get(&cid).filter(|data| data.len() <= BLOCK_MAX) {
                    bytes += data.len();
                    read.push((cid, data));
                }
            }
            (read, cids.collect())
        };
        self.reading(read).await
    }

    /// Runs work that waits for the disk, in turn; what comes to nothing is empty.
    async fn reading<T: Default + Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let _turn = self.reads.acquire().await; // Never closed.
        tokio::task::spawn_blocking(work).await.unwrap_or_default()
    }

    /// Whether the task that sends to a peer may end.
    fn rests(&self, peer: PeerId) -> bool {
        let mut state = self.state();
        let Some(outbox) = state.outboxes.get_mut(&peer) else { return true };
        outbox.running = outbox.is_due();
        !outbox.running
    }

    fn give_up(&self, peer: PeerId) {
        let (mut state, mut asks) = (self.state(), Vec::new());
        if let Some(outbox) = state.outboxes.get_mut(&peer) {
            outbox.running = false;
            outbox.take_entries();
            outbox.ledger = Ledger::default();
        }
        state.outboxes.remove(&peer);
        let now = self.now();
        state.wants.lost(peer, now, &mut asks);
        self.put(&mut state, asks);
    }
}

/// The next message of a stream: waited for without end, and then for so long.
async fn next_message(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Message>, FrameError> {
    let Some(length) = read_length(stream).await? else { return Ok(None) };
    let late = |_| FrameError::Io(io::ErrorKind::TimedOut.into());
    timeout(RECEIVE_MAX, read_body(stream, length)).await.map_err(late)?.map(Some)
}

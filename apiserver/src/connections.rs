//! Who may hold how many connections.
//!
//! ```text
//!  TCP -> Shaking --TLS--> Cluster: masters, components, nodes, by their certificates
//!                    |---> Known:   other certificates, and good tokens once they have been shown
//!                    '---> Unknown: everybody else, for as long as there is room
//! ```
//!
//! Components and nodes have slots of their own, so nobody else can take these. Everybody else shares the rest: where
//! it is full, a connection without credentials on which nothing is asked goes first, the longest idle one before the
//! others. Where too many connections are still in their TLS handshake, the oldest is closed for the next: a handshake
//! takes milliseconds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many connections there may be, and how long they may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that still shake hands.
    pub shaking: usize,
    /// Those of masters, components and nodes.
    pub cluster: usize,
    /// Those of everybody else.
    pub others: usize,
    /// How long a client may take to shake hands.
    pub handshake: Duration,
    /// How long a client may take to ask for something.
    pub first_request: Duration,
    /// How long a connection may be idle between two requests: upstream's time.
    pub idle: Duration,
    /// How long a client may take to send a body.
    pub body: Duration,
    /// How long a client may leave what it is sent unread. A system tells a full buffer's sender of room only once a good part of it is
    /// free again, so that even one that reads some kilobytes in a second seems to stand still for minutes.
    pub unread: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            shaking: 1024,
            cluster: 8192,
            others: 8192,
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(30),
            idle: Duration::from_secs(90),
            body: Duration::from_secs(60),
            unread: Duration::from_secs(300),
        }
    }
}

/// What is known of who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing yet: TLS is being set up.
    Shaking,
    /// No certificate, and no good token so far.
    Unknown,
    /// A certificate or a good token.
    Known,
    /// A member of `system:masters`, a component or a node.
    Cluster,
}

/// What happens on a connection. Each request changes it, so each connection has a lock of its own for it.
#[derive(Clone, Copy, Debug)]
struct Use {
    /// Requests that are being answered.
    active: usize,
    /// Whether there has been any.
    asked: bool,
    /// When a request last began or ended, or its class changed.
    since: Instant,
    /// Whether it may be idle for as long as it likes.
    kept: bool,
    /// Under which time it stands in [`Members::idle`]; `None` once it was found busy there.
    listed: Option<Instant>,
}

struct Entry {
    class: Class,
    usage: Arc<Mutex<Use>>,
    end: CancellationToken,
}

/// The connections of one class, by number.
///
/// Requests begin and end without touching this, so `idle` may be out of date, but only in one direction: a connection has been idle for
/// no longer than the time says under which it stands there, and it may be busy. Whoever looks for the longest idle one corrects what is
/// found first, and takes busy ones out until their last request ends. So a look costs no more than the requests since the last one.
#[derive(Default)]
struct Members {
    idle: BTreeSet<(Instant, u64)>,
    busy: BTreeSet<u64>,
}

impl Members {
    fn len(&self) -> usize {
        self.idle.len() + self.busy.len()
    }

    fn add(&mut self, number: u64, usage: &mut Use) {
        usage.listed = Some(usage.since);
        self.busy.remove(&number);
        self.idle.insert((usage.since, number));
    }

    fn remove(&mut self, number: u64, usage: &Use) {
        self.busy.remove(&number);
        if let Some(listed) = usage.listed {
            self.idle.remove(&(listed, number));
        }
    }
}

#[derive(Default)]
struct Ledger {
    numbers: u64,
    entries: HashMap<u64, Entry>,
    /// By class.
    members: [Members; 4],
}

impl Ledger {
    fn of(&mut self, class: Class) -> &mut Members {
        &mut self.members[class as usize]
    }

    fn count(&self, class: Class) -> usize {
        self.members[class as usize].len()
    }

    /// The connection of a class that is idle for the longest time.
    fn longest_idle(&mut self, class: Class) -> Option<u64> {
        let members = &mut self.members[class as usize];
        loop {
            let (listed, number) = members.idle.pop_first()?;
            // Whoever is among the members has an entry.
            let Some(entry) = self.entries.get(&number) else { continue };
            let mut usage = entry.usage.lock();
            if usage.active > 0 {
                usage.listed = None;
                members.busy.insert(number);
                continue;
            }
            let is_first = usage.since == listed;
            members.add(number, &mut usage);
            if is_first {
                return Some(number);
            }
        }
    }

    /// Any connection of a class: the longest idle one, or if all are busy the oldest.
    fn dispensable(&mut self, class: Class) -> Option<u64> {
        self.longest_idle(class).or_else(|| self.of(class).busy.first().copied())
    }

    /// Which connection makes room for one more of a class; `Err` where none has to or may.
    fn victim(&mut self, class: Class, limits: &Limits) -> Result<Option<u64>, Full> {
        let (taken, limit) = match class {
            Class::Shaking => (self.count(Class::Shaking), limits.shaking),
            Class::Cluster => (self.count(Class::Cluster), limits.cluster),
            Class::Unknown | Class::Known => {
                (self.count(Class::Unknown) + self.count(Class::Known), limits.others)
            }
        };
        if taken < limit {
            return Ok(None);
        }
        let victim = match class {
            Class::Shaking => self.dispensable(Class::Shaking),
            Class::Cluster => self.longest_idle(Class::Cluster),
            Class::Unknown => self.longest_idle(Class::Unknown),
            Class::Known => self.dispensable(Class::Unknown).or_else(|| self.longest_idle(Class::Known)),
        };
        victim.map(Some).ok_or(Full)
    }

    fn remove(&mut self, number: u64) {
        if let Some(entry) = self.entries.remove(&number) {
            entry.end.cancel();
            self.of(entry.class).remove(number, &entry.usage.lock());
        }
    }
}

/// There is no slot, and nobody who makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are too many connections")]
pub struct Full;

/// All connections of a server. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    limits: Limits,
    ledger: Arc<Mutex<Ledger>>,
}

impl Connections {
    /// None yet.
    pub fn new(limits: Limits) -> Connections {
        Connections { limits, ledger: Arc::default() }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A slot for a connection that has just come.
    ///
    /// # Errors
    /// [`Full`], if `limits.shaking` is 0: otherwise the oldest handshake gives way.
    pub fn take(&self) -> Result<Slot, Full> {
        let mut ledger = self.ledger.lock();
        if let Some(victim) = ledger.victim(Class::Shaking, &self.limits)? {
            ledger.remove(victim);
        }
        ledger.numbers += 1;
        let number = ledger.numbers;
        let mut usage = Use { active: 0, asked: false, since: Instant::now(), kept: false, listed: None };
        ledger.of(Class::Shaking).add(number, &mut usage);
        let usage = Arc::new(Mutex::new(usage));
        let end = CancellationToken::new();
        ledger
            .entries
            .insert(number, Entry { class: Class::Shaking, usage: usage.clone(), end: end.clone() });
        Ok(Slot(Arc::new(Held { ledger: self.ledger.clone(), limits: self.limits, number, usage, end })))
    }
}

/// A connection's slot, held by whatever serves it. Cheap to clone; the last one gives it back.
#[derive(Clone)]
pub struct Slot(Arc<Held>);

struct Held {
    ledger: Arc<Mutex<Ledger>>,
    limits: Limits,
    number: u64,
    usage: Arc<Mutex<Use>>,
    end: CancellationToken,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ledger.lock().remove(self.number);
    }
}

impl Slot {
    /// Says who is at the other end.
    ///
    /// # Errors
    /// [`Full`]: the connection has to end.
    pub fn set_class(&self, class: Class) -> Result<(), Full> {
        let held = &self.0;
        let mut ledger = held.ledger.lock();
        let Some(entry) = ledger.entries.get(&held.number) else { return Err(Full) };
        let before = entry.class;
        if before >= class {
            return Ok(());
        }
        // Who is known now had a slot among the unknown, and keeps it.
        let keeps = before == Class::Unknown && class == Class::Known;
        if !keeps && let Some(victim) = ledger.victim(class, &held.limits)? {
            ledger.remove(victim);
        }
        if let Some(entry) = ledger.entries.get_mut(&held.number) {
            entry.class = class;
        }
        let mut usage = held.usage.lock();
        ledger.of(before).remove(held.number, &usage);
        (usage.since, usage.kept) = (Instant::now(), class == Class::Cluster);
        ledger.of(class).add(held.number, &mut usage);
        Ok(())
    }

    /// How long the connection may be idle.
    pub fn idle_limit(&self) -> Duration {
        self.0.limits.idle
    }

    /// A request begins; it ends with what is returned.
    pub fn request(&self) -> Request {
        {
            let mut usage = self.0.usage.lock();
            (usage.active, usage.asked, usage.since) = (usage.active + 1, true, Instant::now());
        }
        Request(self.clone())
    }

    /// Comes back when the connection has to end: another one needs the slot, or nothing has happened for too long.
    pub async fn over(&self) {
        let held = &self.0;
        let idle = async {
            loop {
                let usage = *held.usage.lock();
                let limit = if usage.asked { held.limits.idle } else { held.limits.first_request };
                // Requests do not wake this: it looks again when the time would be up.
                let busy = usage.active > 0 || (usage.kept && usage.asked);
                let end = if busy { Instant::now() + limit } else { usage.since + limit };
                if end <= Instant::now() {
                    return;
                }
                tokio::time::sleep_until(end).await;
            }
        };
        tokio::select! {
            () = held.end.cancelled() => {}
            () = idle => {}
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Slot").field(&self.0.number).finish()
    }
}

/// A request that is being answered.
pub struct Request(Slot);

impl Drop for Request {
    fn drop(&mut self) {
        let held = &self.0.0;
        let mut usage = held.usage.lock();
        (usage.active, usage.since) = (usage.active.saturating_sub(1), Instant::now());
        if usage.active > 0 || usage.listed.is_some() {
            return;
        }
        // It was found busy. The ledger's lock always comes first.
        drop(usage);
        let mut ledger = held.ledger.lock();
        let Some(class) = ledger.entries.get(&held.number).map(|entry| entry.class) else { return };
        let mut usage = held.usage.lock();
        if usage.listed.is_none() {
            ledger.of(class).add(held.number, &mut usage);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(shaking: usize, cluster: usize, others: usize) -> Limits {
        Limits { shaking, cluster, others, ..Limits::default() }
    }

    fn is_over(slot: &Slot) -> bool {
        slot.0.end.is_cancelled()
    }

    fn enter(connections: &Connections, class: Class) -> Result<Slot, Full> {
        let slot = connections.take()?;
        slot.set_class(class).map(|()| slot)
    }

    #[tokio::test(start_paused = true)]
    async fn idle_strangers_go_first_and_the_cluster_keeps_its_slots() {
        let connections = Connections::new(limits(2, 1, 3));
        let node = enter(&connections, Class::Cluster).unwrap();
        let known = enter(&connections, Class::Known).unwrap();
        let busy = enter(&connections, Class::Unknown).unwrap();
        let request = busy.request();
        let idle = enter(&connections, Class::Unknown).unwrap();
        // Everybody has a slot; now one more comes, and one more.
        let next = enter(&connections, Class::Unknown).unwrap();
        assert!(is_over(&idle) && !is_over(&busy) && !is_over(&known) && !is_over(&node));
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(request);
        let master = enter(&connections, Class::Known).unwrap();
        assert!(is_over(&next), "it is idle for longer than the other, which has just been answered");
        let another = enter(&connections, Class::Known).unwrap();
        assert!(is_over(&busy), "who is known goes before who is not");
        assert_eq!(enter(&connections, Class::Unknown).err(), Some(Full), "those who are known stay");
        assert!(!is_over(&known) && !is_over(&master) && !is_over(&another) && !is_over(&node));
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_make_room_for_each_other_and_slots_come_back() {
        let connections = Connections::new(limits(2, 1, 1));
        let first = connections.take().unwrap();
        let second = connections.take().unwrap();
        let third = connections.take().unwrap();
        assert!(is_over(&first) && !is_over(&second) && !is_over(&third));
        assert_eq!(first.set_class(Class::Cluster), Err(Full), "too late");
        drop((first, second, third));
        let ledger = connections.ledger.lock();
        assert!(ledger.entries.is_empty() && ledger.members.iter().all(|members| members.len() == 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_idle_for_ever_but_nodes() {
        let connections = Connections::new(limits(9, 9, 9));
        let after = async |slot: &Slot| {
            let begun = Instant::now();
            let over = tokio::time::timeout(Duration::from_secs(10_000), slot.over()).await;
            over.ok().map(|()| begun.elapsed().as_secs())
        };
        let silent = enter(&connections, Class::Unknown).unwrap();
        assert_eq!(after(&silent).await, Some(30));
        let asked = enter(&connections, Class::Known).unwrap();
        drop(asked.request());
        assert_eq!(after(&asked).await, Some(90));
        let watching = enter(&connections, Class::Known).unwrap();
        let watch = watching.request();
        assert_eq!(after(&watching).await, None);
        drop(watch);
        let node = enter(&connections, Class::Cluster).unwrap();
        drop(node.request());
        assert_eq!(after(&node).await, None);
    }

    proptest! {
        /// After any sequence of connections no class holds more slots than it may, and clients from outside never
        /// take the slots of components and nodes.
        #[test]
        fn no_class_has_more_than_its_slots(steps in prop::collection::vec((0u8..4, 0usize..8), 1..80)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let connections = Connections::new(limits(3, 2, 4));
                let mut slots: Vec<Slot> = Vec::new();
                let mut requests: Vec<Request> = Vec::new();
                for (step, which) in steps {
                    let alive = |class: Class| {
                        let ledger = connections.ledger.lock();
                        ledger.entries.iter().filter(|(_, e)| e.class == class).map(|(n, _)| *n).collect::<Vec<_>>()
                    };
                    let nodes = alive(Class::Cluster);
                    match step {
                        0 => slots.extend(connections.take()),
                        1 => {
                            let class = [Class::Unknown, Class::Known, Class::Cluster][which % 3];
                            if let Some(slot) = slots.get(which) {
                                let came = slot.set_class(class);
                                prop_assert!(class == Class::Cluster || alive(Class::Cluster) == nodes, "{came:?}");
                            }
                        }
                        2 => requests.extend(slots.get(which).map(Slot::request)),
                        _ if which % 2 == 0 => drop(requests.pop()),
                        _ if which < slots.len() => drop(slots.remove(which)),
                        _ => {}
                    }
                    if step == 3 {
                        // Whatever began and ended since the last look, this one finds who is idle for the longest time.
                        for class in [Class::Shaking, Class::Unknown, Class::Known, Class::Cluster] {
                            let mut ledger = connections.ledger.lock();
                            let mut idle: Vec<(Instant, u64)> = Vec::new();
                            for (number, entry) in ledger.entries.iter().filter(|(_, e)| e.class == class) {
                                let usage = entry.usage.lock();
                                idle.extend((usage.active == 0).then_some((usage.since, *number)));
                            }
                            let expected = idle.into_iter().min().map(|(_, number)| number);
                            prop_assert_eq!(ledger.longest_idle(class), expected);
                            let of_class = ledger.entries.values().filter(|entry| entry.class == class).count();
                            prop_assert_eq!(ledger.count(class), of_class);
                        }
                    }
                    let others = alive(Class::Unknown).len() + alive(Class::Known).len();
                    prop_assert!(alive(Class::Shaking).len() <= 3 && alive(Class::Cluster).len() <= 2 && others <= 4);
                }
                Ok(())
            })?;
        }
    }
}

//! Histories of commits, faults, kills and power cuts on the disk of `disk/faulty`, held to one law: every acknowledged
//! change is there, the others are there whole or not at all, and once the disk is well the store goes on.
//!
//! `CORACLE_HISTORIES` says how many are played, `CORACLE_SEED` with which one to begin.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc as threads;

use coracle_api::Revision;
use coracle_client::clock::Clock;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;

use super::disk::faulty::{Fault, Faulty};
use super::disk::{Barrier, Disk};
use super::fold::FoldWorker;
use super::health::Health;
use super::log::Sealed;
use super::opening;
use super::suite::{Listener, change};
use super::writer::{Order, Writer};
use super::*;

/// How many histories are played where nobody says how many.
const HISTORIES: u64 = 10_000;
/// How many are played for each sync that is left out: the rarest loss is found in about a tenth of them.
const WITHOUT_A_SYNC: u64 = 20_000;
/// How many stores are damaged.
const DAMAGED: u64 = 500;
const DATA: &str = "/data";
/// A file of the log holds a frame or two.
const FILE_BYTES: usize = 600;

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// Batches that come at the same time.
    Commit(Vec<Asked>),
    /// The fold worker gets its turn.
    Fold,
    /// The process is killed, and starts again.
    Kill,
    /// The power fails, and comes back.
    Cut,
    /// A call to the disk fails after some others.
    Fail(u32, Fault),
    /// So many bytes of room are left.
    Fill(usize),
    /// Nothing is wrong with the disk any more.
    Heal,
}

#[derive(Clone, Debug)]
struct Asked {
    together: bool,
    changes: Vec<Wanted>,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    name: u8,
    /// Rather than changed.
    deleted: bool,
    /// The writer has read an old state.
    stale: bool,
}

fn steps(seed: u64) -> Vec<Step> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut steps = Vec::new();
    for _ in 0..random.random_range(2..30) {
        steps.push(match random.random_range(0..100) {
            0..50 => Step::Commit((0..random.random_range(1..4)).map(|_| asked(&mut random)).collect()),
            50..62 => Step::Fold,
            62..72 => Step::Kill,
            72..80 => Step::Cut,
            80..92 => {
                let fault = if random.random_bool(0.7) { Fault::Io } else { Fault::NoRoom };
                Step::Fail(random.random_range(0..12), fault)
            }
            92..96 => Step::Fill(random.random_range(0..3000)),
            _ => Step::Heal,
        });
    }
    steps
}

fn asked(random: &mut SmallRng) -> Asked {
    let changes = (0..random.random_range(1..4)).map(|_| Wanted {
        name: random.random_range(0..3),
        deleted: random.random_bool(0.3),
        stale: random.random_bool(0.05),
    });
    Asked { changes: changes.collect(), together: random.random_bool(0.5) }
}

/// What lives, by name, with revision and text; and the last revision.
#[derive(Clone, Debug, PartialEq)]
struct World {
    lives: BTreeMap<String, (u64, String)>,
    last: u64,
}

/// A running store, driven by hand.
struct Running {
    writer: Writer,
    fold_worker: FoldWorker,
    full: threads::Receiver<Option<Sealed>>,
    listener: Listener,
}

struct Play {
    disk: Faulty,
    running: Option<Running>,
    /// What was acknowledged.
    known: World,
    /// What may be there instead: after writes of which nobody knows what became of them.
    possible: Vec<World>,
    /// Makes texts differ.
    count: u32,
}

/// Plays a history on a new disk; the text says how the law was broken.
fn play(seed: u64, steps: &[Step], ignored: Option<Barrier>) -> Result<BTreeMap<Barrier, u64>, String> {
    let disk = Faulty::new(seed);
    disk.ignore(ignored);
    let known = World { lives: BTreeMap::new(), last: BEFORE_ALL.0 };
    let mut play = Play { disk, running: None, known, possible: Vec::new(), count: 0 };
    if let Some(Step::Fail(calls, fault)) = steps.first() {
        play.disk.arm(*calls, *fault);
    }
    play.open()?;
    for step in steps {
        match step {
            Step::Commit(batches) => play.commit(batches).map(drop)?,
            Step::Fold => drop(play.fold()),
            Step::Kill => play.again(Faulty::kill)?,
            Step::Cut => play.again(Faulty::cut)?,
            Step::Fail(calls, fault) => play.disk.arm(*calls, *fault),
            Step::Fill(bytes) => play.disk.leave_room(*bytes),
            Step::Heal => play.disk.heal(),
        }
    }
    play.end()?;
    Ok(play.disk.asked())
}

impl Play {
    fn open(&mut self) -> Result<(), String> {
        let spare = self.disk.size(&Path::new(DATA).join(spare::NAME)) == Some(FILE_BYTES);
        let opens_when_full = spare && !self.disk.is_armed();
        let mut opened = self.try_open();
        if let Err(error) = opened {
            match error {
                StoreError::Open { .. } => {}
                StoreError::Full { .. } if !opens_when_full => {}
                _ => return Err(format!("not opened: {error}")),
            }
            // The disk has failed. Once it is well, the store opens.
            self.disk.heal();
            self.disk.kill();
            opened = self.try_open();
        }
        opened.map_err(|error| format!("not opened: {error}"))?;
        let found = self.shown()?;
        if found != self.known && !self.possible.contains(&found) {
            return Err(format!(
                "found {found:?}\nacknowledged {:?}\npossible {:?}",
                self.known, self.possible
            ));
        }
        // What it has shown once must not go any more.
        (self.known, self.possible) = (found, Vec::new());
        Ok(())
    }

    fn try_open(&mut self) -> Result<(), StoreError> {
        let (disk, path): (Arc<dyn Disk>, _) = (Arc::new(self.disk.clone()), Path::new(DATA));
        let bounds = Bounds { disk_bytes: FILES * FILE_BYTES as u64, ..Bounds::default() };
        let opened = opening::open(&disk, path, &bounds)?;
        let (listener, health) = (Listener::default(), Arc::<Health>::default());
        listener.load(opened.loaded);
        let (sender, full) = threads::channel();
        let clock = Clock::system();
        let writer = Writer {
            log: opened.log,
            ledger: opened.ledger,
            bounds: Bounds { age_seconds: i64::MAX / 4, ..bounds },
            clock: clock.clone(),
            path: path.into(),
            follower: Arc::new(listener.clone()),
            health: health.clone(),
            full: sender,
        };
        let fold_worker = FoldWorker {
            disk,
            path: path.into(),
            base: Some(opened.base),
            bounds: Bounds { disk_bytes: 0, ..bounds },
            clock,
            sealed: opened.sealed.into(),
            health,
        };
        self.running = Some(Running { writer, fold_worker, full, listener });
        Ok(())
    }

    fn again(&mut self, end: impl Fn(&Faulty)) -> Result<(), String> {
        self.running = None;
        end(&self.disk);
        self.open()
    }

    fn running(&mut self) -> Result<&mut Running, String> {
        self.running.as_mut().ok_or_else(|| "it does not run".into())
    }

    /// What the follower was shown.
    fn shown(&mut self) -> Result<World, String> {
        let world = self.running()?.listener.world();
        Ok(World { last: world.floor + world.log as u64, lives: world.lives })
    }

    fn fold(&mut self) -> Result<(), String> {
        let Running { fold_worker, full, .. } = self.running()?;
        full.try_iter().for_each(|sealed| fold_worker.sealed.extend(sealed));
        fold_worker.fold_due()
    }

    /// Commits batches as one group and checks what the writers are told. Answers whether all was written.
    fn commit(&mut self, batches: &[Asked]) -> Result<bool, String> {
        let (mut orders, mut waiting) = (Vec::new(), Vec::new());
        for (number, asked) in batches.iter().enumerate() {
            let (changes, expected) = self.changes(number, asked);
            let (answer, outcome) = oneshot::channel();
            let batch = if asked.together { Batch::Together(changes) } else { Batch::Each(changes) };
            orders.push(Order::Commit(batch, answer));
            waiting.push((outcome, expected));
        }
        self.running()?.writer.obey(&mut orders);
        let (mut world, mut unknown, mut made, mut refused) = (self.known.clone(), false, false, false);
        for (mut outcome, expected) in waiting {
            let conflicts = expected.iter().any(|(_, text)| text.is_none());
            match outcome.try_recv().map_err(|_| "a writer was not answered")? {
                Ok(outcomes) => {
                    for (outcome, (name, text)) in outcomes.iter().zip(&expected) {
                        match (outcome, text) {
                            (Ok(object), Some(text)) => {
                                world.make(name, text);
                                made = true;
                                if object.revision.0 != world.last {
                                    return Err(format!(
                                        "{name} got {}, not {}",
                                        object.revision, world.last
                                    ));
                                }
                            }
                            (Err(_), None) => {}
                            _ => return Err(format!("{name}: {outcome:?}, expected {text:?}")),
                        }
                    }
                }
                Err(StoreError::Conflict(_)) if conflicts => {}
                Err(StoreError::Full { .. } | StoreError::Unwritten { .. }) => refused = true,
                Err(StoreError::Disk(_)) => {
                    (unknown, refused) = (true, true);
                    for (name, text) in &expected {
                        text.iter().for_each(|text| world.make(name, text));
                    }
                }
                Err(error) => return Err(format!("a writer was told {error}")),
            }
        }
        if unknown && made {
            return Err("one frame was written and was not".into());
        }
        if unknown {
            self.possible.push(world);
        } else if made {
            (self.known, self.possible) = (world, Vec::new());
        }
        let shown = self.shown()?;
        if shown != self.known {
            return Err(format!("shown {shown:?}\nacknowledged {:?}", self.known));
        }
        Ok(!refused)
    }

    /// The changes of a batch; and for each the name with the new text (none inside for a delete), or nothing if it is to be
    /// refused.
    #[allow(clippy::type_complexity)]
    fn changes(
        &mut self,
        batch: usize,
        asked: &Asked,
    ) -> (Vec<Proposed>, Vec<(String, Option<Option<String>>)>) {
        let mut now: BTreeMap<String, Expected> = BTreeMap::new();
        let (mut changes, mut expected) = (Vec::new(), Vec::new());
        for wanted in &asked.changes {
            // Batches of one group have nothing to do with each other.
            let name = format!("{batch}-{}", wanted.name);
            let had = self.known.lives.get(&name).map(|(revision, _)| Revision(*revision));
            let had = now.get(&name).copied().unwrap_or(had.into());
            let deleted = wanted.deleted && had != Expected::Absent;
            let verb = match had {
                _ if deleted => Verb::Delete,
                Expected::Absent => Verb::Create,
                _ => Verb::Update,
            };
            self.count += 1;
            let text = self.count.to_string();
            let condition = if wanted.stale { Expected::At(Revision(1)) } else { had };
            changes.push(change(&name, condition, verb, &text));
            if wanted.stale {
                expected.push((name, None));
                continue;
            }
            now.insert(name.clone(), if deleted { Expected::Absent } else { Expected::Earlier });
            expected.push((name, Some((!deleted).then_some(text))));
        }
        if asked.together && asked.changes.iter().any(|wanted| wanted.stale) {
            expected.iter_mut().for_each(|(_, text)| *text = None);
        }
        (changes, expected)
    }

    /// Once the disk is well, everything goes on by itself, and is there after a power cut.
    fn end(&mut self) -> Result<(), String> {
        self.disk.heal();
        let wanted = Wanted { name: 0, deleted: false, stale: false };
        let one = [Asked { together: true, changes: vec![wanted] }];
        if !self.commit(&one)? {
            return Err("it does not write again".into());
        }
        self.fold().map_err(|why| format!("it does not fold again: {why}"))?;
        self.running()?.writer.health.check()?;
        self.again(Faulty::cut)
    }
}

impl World {
    fn make(&mut self, name: &str, text: &Option<String>) {
        self.last += 1;
        match text {
            Some(text) => drop(self.lives.insert(name.into(), (self.last, text.clone()))),
            None => drop(self.lives.remove(name)),
        }
    }
}

/// Leaves out steps for as long as the law is still broken.
fn shrink(seed: u64, mut steps: Vec<Step>, mut why: String, ignored: Option<Barrier>) -> (Vec<Step>, String) {
    let mut size = steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + size).min(steps.len()));
            match play(seed, &fewer, ignored) {
                Err(again) => (steps, why) = (fewer, again),
                Ok(_) => at += size,
            }
        }
        size /= 2;
    }
    (steps, why)
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.replace('_', "").parse().ok()).unwrap_or(otherwise)
}

#[test]
fn whatever_fails_nothing_acknowledged_is_lost() {
    let (first, count) = (number("CORACLE_SEED", 1), number("CORACLE_HISTORIES", HISTORIES));
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get() as u64);
    let mut asked = BTreeMap::<Barrier, u64>::new();
    std::thread::scope(|scope| {
        let work = |worker: u64| {
            move || {
                let mut all = BTreeMap::<Barrier, u64>::new();
                for seed in (first..first + count).skip(worker as usize).step_by(workers as usize) {
                    let steps = steps(seed);
                    match play(seed, &steps, None) {
                        Ok(asked) => {
                            asked.into_iter().for_each(|(sync, n)| *all.entry(sync).or_default() += n)
                        }
                        Err(why) => {
                            let (steps, why) = shrink(seed, steps, why, None);
                            panic!("CORACLE_SEED={seed} CORACLE_HISTORIES=1: {steps:?}\n{why}");
                        }
                    }
                }
                all
            }
        };
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(work(worker))).collect();
        for thread in threads {
            let all = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.into_iter().for_each(|(sync, n)| *asked.entry(sync).or_default() += n);
        }
    });
    println!("{count} histories, syncs {asked:?}");
    assert!(count < 1000 || Barrier::ALL.iter().all(|sync| asked.contains_key(sync)), "{asked:?}");
}

/// A bit that has flipped in a file of the log is noticed, except in its very last frame, which then looks like one that was
/// torn and never acknowledged.
#[test]
fn what_is_damaged_is_refused_and_not_read() {
    let mut refused = 0;
    for seed in 1..DAMAGED {
        let mut random = SmallRng::seed_from_u64(seed);
        let disk = Faulty::new(seed);
        let known = World { lives: BTreeMap::new(), last: BEFORE_ALL.0 };
        let mut play = Play { disk, running: None, known, possible: Vec::new(), count: 0 };
        play.open().unwrap();
        let mut before = play.known.clone();
        for _ in 0..8 {
            let known = play.known.clone();
            play.commit(&[asked(&mut random)]).unwrap();
            before = if known == play.known { before } else { known };
        }
        if random.random_bool(0.3) {
            play.fold().unwrap();
        }
        play.running = None;
        play.disk.cut();
        if !play.disk.rot(random.random_range(0..10), random.random_range(0..10_000)) {
            continue;
        }
        match play.try_open() {
            Ok(()) => {
                let shown = play.shown().unwrap();
                assert!(shown == play.known || shown == before, "seed {seed}: {shown:?}, {:?}", play.known);
            }
            Err(StoreError::Damaged { .. }) => refused += 1,
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(refused > DAMAGED / 3, "{refused} of {DAMAGED}");
}

#[test]
fn without_any_one_sync_something_is_lost() {
    for sync in Barrier::ALL {
        let found = (1..WITHOUT_A_SYNC)
            .find_map(|seed| play(seed, &steps(seed), Some(sync)).err().map(|why| (seed, why)));
        let (seed, why) = found.unwrap_or_else(|| panic!("nothing is lost without {sync:?}"));
        let (steps, why) = shrink(seed, steps(seed), why, Some(sync));
        println!("without {sync:?}: lost by history {seed}, in {} steps: {why}\n{steps:?}\n", steps.len());
    }
}

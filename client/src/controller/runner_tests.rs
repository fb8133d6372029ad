use std::time::Duration;

use coracle_api::kinds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::fake::Fake;
use crate::faulty::Faulty;
use crate::{Action, Op, Plan, Store};

/// A controller over config maps whose plan is whatever a function says that is told the key, and how many maps it sees.
struct Probe<F> {
    maps: Store<ConfigMap>,
    decide: F,
}

impl<F> Controller for Probe<F>
where
    F: Fn(&Key, usize) -> Result<Plan, Error> + Send + Sync + 'static,
{
    const NAME: &'static str = "test-controller";
    type Observed = Plan;

    fn wakes(self: &Arc<Self>, wakes: Wakes) -> Wakes {
        wakes.on_each::<ConfigMap>()
    }

    async fn observe(&self, _: &Ctx, key: &Key) -> Result<Option<Plan>, Error> {
        (self.decide)(key, self.maps.len()).map(Some)
    }

    fn plan(observed: &Plan, _: Timestamp) -> Plan {
        observed.clone()
    }
}

struct Bench {
    fake: Fake,
    informers: Informers,
    cancel: CancellationToken,
}

impl Bench {
    fn new() -> Bench {
        let fake = Fake::new();
        let informers = Informers::new(Arc::new(fake.clone()));
        Bench { fake, informers, cancel: CancellationToken::new() }
    }

    fn start(&self, gate: Gate, decide: impl Fn(&Key, usize) -> Result<Plan, Error> + Send + Sync + 'static) {
        let client = Arc::new(self.fake.clone());
        let probe = Probe { maps: self.informers.store(), decide };
        let runner = Runner::new(client, self.informers.clone(), Clock::system()).gate(gate);
        let (informers, cancel) = (self.informers.clone(), self.cancel.clone());
        tokio::spawn(async move { informers.run(cancel).await });
        tokio::spawn(runner.drive(probe, self.cancel.clone()));
    }

    async fn write(&self, op: Op) -> Revision {
        let client: Arc<dyn Client> = Arc::new(self.fake.clone());
        client.write_one(op).await.unwrap().revision
    }
}

fn map(name: &str) -> Op {
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "a", "name": name}});
    Op::Create { kind: kinds::CONFIG_MAP.handle(), namespace: "a".into(), sub: None, object }
}

/// A plan that makes a map.
fn making(name: &str) -> Plan {
    Plan::of(vec![Action::write(map(name))])
}

async fn next<T>(receive: &mut mpsc::UnboundedReceiver<T>) -> T {
    let next = timeout(Duration::from_secs(600), receive.recv()).await;
    next.expect("something happens").expect("the sender lives")
}

async fn quiet<T: std::fmt::Debug>(receive: &mut mpsc::UnboundedReceiver<T>, wait: Duration) {
    let got = timeout(wait, receive.recv()).await;
    assert!(got.is_err(), "{got:?} came too early");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_not_looked_at_before_its_own_write_is_seen() {
    for broken_off in [false, true] {
        let bench = Bench::new();
        let (send, mut receive) = mpsc::unbounded_channel();
        let fake = bench.fake.clone();
        bench.start(Gate::open(), move |_, seen| {
            send.send(seen).unwrap();
            if seen > 1 {
                return Ok(Plan::default());
            }
            fake.hold_events_back();
            if broken_off {
                fake.fail_next_write(Error::Unreachable("cut".into()), true);
            }
            Ok(making("made").and_look_again(Some(Duration::from_millis(1))))
        });
        bench.write(map("first")).await;
        assert_eq!(next(&mut receive).await, 1);
        quiet(&mut receive, Duration::from_secs(20)).await;
        bench.fake.let_events_through();
        assert_eq!(next(&mut receive).await, 2, "broken off: {broken_off}");
    }
}

#[tokio::test(start_paused = true)]
async fn writes_carry_the_revisions_that_woke_the_run() {
    let bench = Bench::new();
    bench
        .start(Gate::open(), |key, _| Ok(if key.name == "first" { making("made") } else { Plan::default() }));
    let first = bench.write(map("first")).await;
    while bench.fake.writes().len() < 2 {
        tokio::task::yield_now().await;
    }
    let made = bench.fake.writes().pop().unwrap();
    assert_eq!((made.causes, made.actor.as_str()), (vec![first], "test-controller"));
}

#[tokio::test(start_paused = true)]
async fn failures_and_panics_are_tried_again_later() {
    let bench = Bench::new();
    let (send, mut receive) = mpsc::unbounded_channel();
    let runs = Mutex::new(0);
    bench.start(Gate::open(), move |_, _| {
        let run = {
            let mut runs = runs.lock();
            *runs += 1;
            *runs
        };
        send.send(run).unwrap();
        match run {
            1 => Err(Error::Unreachable("for now".into())),
            2 => panic!("a fault"),
            _ => Ok(Plan::default()),
        }
    });
    bench.write(map("first")).await;
    assert_eq!(next(&mut receive).await, 1);
    let start = tokio::time::Instant::now();
    assert_eq!(next(&mut receive).await, 2);
    assert_eq!(next(&mut receive).await, 3);
    assert_eq!(start.elapsed(), Duration::from_millis(5 + 10));
    quiet(&mut receive, Duration::from_secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_shows_the_plan_and_lets_steps_pass() {
    let bench = Bench::new();
    let gate = Gate::closed();
    bench.start(gate.clone(), |key, _| {
        Ok(if key.name.len() < 3 { making(&format!("{}x", key.name)) } else { Plan::default() })
    });
    bench.write(map("a")).await;
    let held = || gate.held().into_iter().map(|plan| plan.key.name).collect::<Vec<_>>();
    let wait = || tokio::time::sleep(Duration::from_secs(1));
    wait().await;
    assert_eq!((held(), bench.fake.writes().len()), (vec!["a".to_owned()], 1));
    gate.step(1);
    wait().await;
    assert_eq!((held(), bench.fake.writes().len()), (vec!["ax".to_owned()], 2));
    gate.reopen();
    wait().await;
    assert_eq!((held(), bench.fake.writes().len()), (vec![], 3));
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_a_restored_server_never_reaches_is_not_waited_for() {
    let (bench, restored) = (Bench::new(), Fake::new());
    let first = bench.write(map("first")).await;
    let client: Arc<dyn Client> = Arc::new(restored.clone());
    assert_eq!(client.write_one(map("first")).await.unwrap().revision, first, "the backup is from then");

    let faulty = Faulty::new(Arc::new(bench.fake.clone()));
    let informers = Informers::new(Arc::new(faulty.clone()));
    let (send, mut receive) = mpsc::unbounded_channel();
    let fake = bench.fake.clone();
    let decide = move |_: &Key, seen: usize| {
        fake.hold_events_back();
        send.send(seen).unwrap();
        let make = |name| Action::write(map(name));
        Ok(if seen == 1 { Plan::of(vec![make("one"), make("two")]) } else { Plan::default() })
    };
    let probe = Probe { maps: informers.store(), decide };
    let runner = Runner::new(Arc::new(faulty.clone()), informers.clone(), Clock::system());
    tokio::spawn(runner.drive(probe, CancellationToken::new()));
    tokio::spawn(async move { informers.run(CancellationToken::new()).await });
    assert_eq!(next(&mut receive).await, 1);
    while bench.fake.writes().len() < 3 {
        tokio::task::yield_now().await;
    }
    faulty.replace(client.clone());
    bench.fake.break_watches();
    client
        .write_one(Op::merge(Key::new(&kinds::CONFIG_MAP, "a", "first"), json!({"data": {"a": "b"}})))
        .await
        .unwrap();
    assert_eq!(next(&mut receive).await, 1, "looked at as it is now, at revision 2");
}

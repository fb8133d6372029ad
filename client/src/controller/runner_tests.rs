use std::time::Duration;

use coracle_api::kinds;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::Op;
use crate::fake::Fake;

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

    /// A controller over config maps: `reconcile` is told how many it sees.
    fn start<F>(&self, gate: Gate, reconcile: impl Fn(Ctx, Key, usize) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<Requeue, Error>> + Send + 'static,
    {
        let maps = self.informers.store::<ConfigMap>();
        let client = Arc::new(self.fake.clone());
        let runner = Runner::new("test-controller", self.informers.clone(), client, Clock::system())
            .gate(gate)
            .watches_itself::<ConfigMap>();
        let (informers, cancel) = (self.informers.clone(), self.cancel.clone());
        tokio::spawn(async move { informers.run(cancel).await });
        let look = move |ctx: Ctx, key: Key| reconcile(ctx, key, maps.len());
        tokio::spawn(runner.run(self.cancel.clone(), look));
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
        bench.start(Gate::open(), move |ctx, _, seen| {
            let (send, fake) = (send.clone(), fake.clone());
            async move {
                send.send(seen).unwrap();
                if seen == 1 {
                    fake.hold_events_back();
                    if broken_off {
                        fake.fail_next_write(Error::Unreachable("cut".into()), true);
                    }
                    ctx.write(vec![map("made")]).await?;
                }
                Ok(Requeue::After(Duration::from_millis(1)))
            }
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
    bench.start(Gate::open(), |ctx, key, _| async move {
        if key.name == "first" {
            ctx.write(vec![map("made")]).await?;
        }
        Ok(Requeue::Done)
    });
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
    let runs = Arc::new(Mutex::new(0));
    bench.start(Gate::open(), move |_, _, _| {
        let (send, runs) = (send.clone(), runs.clone());
        async move {
            let run = {
                let mut runs = runs.lock();
                *runs += 1;
                *runs
            };
            send.send(run).unwrap();
            match run {
                1 => Err(Error::Unreachable("for now".into())),
                2 => panic!("a fault"),
                _ => Ok(Requeue::Done),
            }
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
    bench.start(gate.clone(), |ctx, key, _| async move {
        if key.name.len() < 3 {
            ctx.write(vec![map(&format!("{}x", key.name))]).await?;
        }
        Ok(Requeue::Done)
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

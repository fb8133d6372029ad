//! The smallest controller, whole and with its wiring. `docs/adding-a-controller.md` shows the code between the two marks; a test
//! here holds the page to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, kinds};
use coracle_client::fake::Fake;
use coracle_client::{
    Action, Client, Clock, Controller, Ctx, Error, Informers, NewEvent, Op, Plan, Runner, Store, Typed, Wakes,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use tokio_util::sync::CancellationToken;

// begin
const GREETING: &str = "greeting";

/// Puts a greeting into every namespace that is labelled `greet: "yes"`.
struct Greeter {
    namespaces: Store<Namespace>,
    maps: Store<ConfigMap>,
}

/// All that `plan` may look at.
struct Observed {
    namespace: Arc<Namespace>,
    greeting: Option<Arc<ConfigMap>>,
}

impl Controller for Greeter {
    const NAME: &'static str = "greeter";
    type Observed = Observed;

    /// Looks at a namespace that changes, and at that of a greeting that somebody has edited or removed.
    fn wakes(self: &Arc<Self>, wakes: Wakes) -> Wakes {
        wakes.on_each::<Namespace>().on::<ConfigMap>(|change| {
            let meta = &change.object().metadata;
            let namespace = meta.namespace.clone().unwrap_or_default();
            let is_greeting = meta.name.as_deref() == Some(GREETING);
            is_greeting.then(|| Key::new(Namespace::kind(), "", namespace)).into_iter().collect()
        })
    }

    async fn observe(&self, _: &Ctx, key: &Key) -> Result<Option<Observed>, Error> {
        let Some(namespace) = self.namespaces.get_key(key) else { return Ok(None) };
        Ok(Some(Observed { namespace, greeting: self.maps.get(&key.name, GREETING) }))
    }

    fn plan(observed: &Observed, _now: Timestamp) -> Plan {
        let meta = &observed.namespace.metadata;
        let asks =
            meta.labels.as_ref().and_then(|labels| labels.get("greet")).is_some_and(|yes| yes == "yes");
        if !asks || meta.deletion_timestamp.is_some() {
            return Plan::default();
        }
        let data = BTreeMap::from([("text".to_owned(), "welcome aboard".to_owned())]);
        let action = match &observed.greeting {
            Some(map) if map.data.as_ref() == Some(&data) => return Plan::default(),
            Some(map) => Action::write(Op::update(&ConfigMap { data: Some(data), ..ConfigMap::clone(map) })),
            None => {
                let metadata = ObjectMeta {
                    name: Some(GREETING.into()),
                    namespace: meta.name.clone(),
                    ..ObjectMeta::default()
                };
                let map = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
                Action::write(Op::create(&map)).fine_if("AlreadyExists")
            }
        };
        let event = NewEvent::normal(&*observed.namespace, "Greeted", "Wrote {name}");
        Plan::of(vec![action.with_event(event)])
    }
}

fn start(client: Arc<dyn Client>, clock: Clock, stop: CancellationToken) {
    let informers = Informers::new(client.clone());
    let greeter = Greeter { namespaces: informers.store(), maps: informers.store() };
    let runner = Runner::new(client, informers.clone(), clock);
    tokio::spawn(runner.drive(greeter, stop.clone()));
    tokio::spawn(async move { informers.run(stop).await });
}
// end

#[tokio::test(start_paused = true)]
async fn a_namespace_that_asks_is_greeted_and_keeps_its_greeting() {
    let fake = Fake::new();
    let client: Arc<dyn Client> = Arc::new(fake.clone());
    let stop = CancellationToken::new();
    start(client.clone(), Clock::system(), stop.clone());
    for (name, greet) in [("asks", "yes"), ("does-not", "no")] {
        let object = json!({"metadata": {"name": name, "labels": {"greet": greet}}});
        let namespace: Namespace = serde_json::from_value(object).expect("a namespace");
        client.create(&namespace).await.expect("created");
    }
    let rest = || tokio::time::sleep(Duration::from_secs(60));
    let text = async |namespace: &str| {
        let map = client.get_as::<ConfigMap>(namespace, GREETING).await.expect("an answer");
        map.and_then(|map| map.data).map(|data| data["text"].clone())
    };
    rest().await;
    assert_eq!(text("asks").await.as_deref(), Some("welcome aboard"));
    assert_eq!(text("does-not").await, None);

    let edit = json!({"data": {"text": "go away"}});
    client.write_one(Op::merge(Key::new(&kinds::CONFIG_MAP, "asks", GREETING), edit)).await.expect("edited");
    rest().await;
    assert_eq!(text("asks").await.as_deref(), Some("welcome aboard"), "put right");
    let events = client.list_as::<k8s_openapi::api::core::v1::Event>().await.expect("a list");
    assert_eq!(events[0].message.as_deref(), Some("Wrote greeting"));
    let written = fake.writes().len();
    rest().await;
    assert_eq!(fake.writes().len(), written, "converged means silent");
    stop.cancel();
}

#[test]
fn the_page_shows_this_very_code() {
    let (page, file) = (include_str!("../../docs/adding-a-controller.md"), include_str!("smallest.rs"));
    let code =
        file.split("// begin\n").nth(1).and_then(|rest| rest.split("// end\n").next()).expect("the marks");
    assert!(page.contains(&format!("```rust\n{}\n```", code.trim_end())), "copy the code into the page");
    assert!(code.lines().count() < 100, "the smallest controller stays below 100 lines");
}

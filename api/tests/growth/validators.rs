//! Everything that a write and a read do with an object of a kind, with each of its lists and maps made long, and with those
//! made long together that are held against each other.

use std::collections::HashSet;

use coracle_api::Kind;
use coracle_api::decode::{FieldValidation, Format, Target, decode};
use coracle_api::kinds::{self, DEPLOYMENT, Kinds, NODE, POD, SERVICE};
use coracle_api::schema::{Schema, Shape, Text};
use coracle_api::table::{Form, Include};
use serde_json::{Map, Value, json};

use crate::measure::Growth;

/// All that happens to an object on its way in, as a new one and as a change of `old`, and when it is printed.
pub fn pass(kind: &Kind, new: &Value, old: &Value) -> usize {
    let typed = |object: &Value| {
        let body = object.to_string();
        let read = decode(&Target::of(kind), Format::Json, body.as_bytes(), FieldValidation::Warn);
        let value = read.map(|decoded| decoded.value).unwrap_or_default();
        let mut value = kind.view.map_or(value.clone(), |view| (view.store)(value));
        kind.fill_in(&mut value);
        value
    };
    let (filled, old) = (typed(new), typed(old));
    let strategy = kind.strategy;
    let mut created = filled.clone();
    (strategy.prepare_create)(kind, &mut created);
    let mut found = kind.validate(&created).0.len();
    found +=
        (strategy.early_warnings)(kind, &created).len() + (strategy.warnings)(kind, &created, None).len();
    let mut changed = filled.clone();
    (strategy.prepare_update)(kind, &mut changed, &old);
    found += kind.validate_change(strategy.validate_update, &changed, &old).0.len();
    found += (strategy.warnings)(kind, &changed, Some(&old)).len();
    let mut status = filled.clone();
    (strategy.prepare_status_update)(kind, &mut status, &old);
    found += kind.validate_change(strategy.validate_status_update, &status, &old).0.len();
    for write in kind.subresources.iter().filter_map(|sub| sub.write) {
        let mut part = filled.clone();
        (write.prepare)(kind, &mut part, &old);
        found += kind.validate_change(write.validate, &part, &old).0.len();
    }
    let errors = kind.validate(&filled);
    found += coracle_api::Status::invalid(kind, "x", &errors).message.len();
    let form = Form {
        api_version: "meta.k8s.io/v1",
        include: Include::Metadata,
        headed: true,
        now: "2026-01-02T03:04:09Z".parse().unwrap(),
    };
    let mut ordered = filled.clone();
    coracle_api::decode::in_order(Target::of(kind).schema, &mut ordered);
    found += kind.selectable.iter().map(|field| field.value(&filled).len()).sum::<usize>();
    found + kind.table.print([&filled, &ordered], json!({}), form).to_string().len()
}

/// One step from an object to a part of it.
#[derive(Clone, Copy, Debug)]
enum Step<'s> {
    Field(&'s str),
    Item,
    Key,
}

/// Ways to lists and maps, and what is found there.
type Found<'s> = Vec<(Vec<Step<'s>>, &'s Schema)>;

/// The ways to all lists and maps of a type, one to each: a probe has the same rules wherever it stands.
struct Search<'s> {
    path: Vec<Step<'s>>,
    seen: HashSet<(&'s str, &'s str)>,
    found: Found<'s>,
}

impl<'s> Search<'s> {
    fn of(schema: &'s Schema) -> Found<'s> {
        let mut search = Search { path: Vec::new(), seen: HashSet::new(), found: Vec::new() };
        search.look(schema);
        search.found
    }

    fn look(&mut self, schema: &'s Schema) {
        match &schema.shape {
            Shape::Struct(fields) => {
                for field in &fields.fields {
                    // What these hold is the same as in `containers`; what the server itself writes nobody sends.
                    let known =
                        matches!(&*field.name, "initContainers" | "ephemeralContainers" | "managedFields");
                    if known || !self.seen.insert((&schema.name, &field.name)) {
                        continue;
                    }
                    self.path.push(Step::Field(&field.name));
                    self.look(field.link.get());
                    self.path.pop();
                }
            }
            Shape::List { items, .. } => self.collection(schema, Step::Item, items.get()),
            Shape::Map { values } => self.collection(schema, Step::Key, values.get()),
            _ => {}
        }
    }

    fn collection(&mut self, schema: &'s Schema, step: Step<'s>, inner: &'s Schema) {
        self.found.push((self.path.clone(), schema));
        self.path.push(step);
        self.look(inner);
        self.path.pop();
    }
}

/// A small value of a type, which differs with its number where it can.
fn small(schema: &Schema, number: usize, depth: usize) -> Value {
    match &schema.shape {
        Shape::Boolean => json!(true),
        Shape::Integer { .. } | Shape::IntOrString => json!(number % 1000),
        Shape::Number => json!(1.5),
        Shape::Text(Text::Plain) => json!(format!("v{number}")),
        Shape::Text(Text::Bytes) => json!("aGVsbG8="),
        Shape::Text(Text::Time) => json!("2026-01-02T03:04:05Z"),
        Shape::Text(Text::MicroTime) => json!("2026-01-02T03:04:05.678000Z"),
        Shape::Quantity => json!(format!("{number}m")),
        Shape::Struct(fields) => {
            let wanted = |shape: &Shape| match shape {
                Shape::Struct(_) => depth > 0,
                Shape::List { .. } | Shape::Map { .. } | Shape::Any => false,
                _ => true,
            };
            let fields = fields.fields.iter().filter(|field| wanted(&field.link.get().shape));
            fields
                .map(|field| (field.name.clone(), small(field.link.get(), number, depth - depth.min(1))))
                .collect()
        }
        Shape::List { .. } => json!([]),
        Shape::Map { .. } | Shape::Any => json!({}),
    }
}

/// An object whose collection at the end of the way has so many entries, and nothing else.
fn object(schema: &Schema, path: &[Step<'_>], count: usize, differ: bool) -> Value {
    let number = |i: usize| if differ { i } else { 7 };
    match path.split_first() {
        None => match &schema.shape {
            Shape::List { items, .. } => {
                let depth = 1;
                (0..count).map(|i| small(items.get(), number(i), depth)).collect()
            }
            Shape::Map { values } => {
                let entries = (0..count).map(|i| (format!("k{i}"), small(values.get(), number(i), 0)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            _ => Value::Null,
        },
        Some((Step::Field(name), rest)) => {
            let child = schema.child(name).expect("a field");
            let mut map = json!({"name": "x"});
            map[*name] = object(child, rest, count, differ);
            map
        }
        Some((Step::Item, rest)) => json!([object(schema.items().expect("items"), rest, count, differ)]),
        Some((Step::Key, rest)) => {
            json!({"k": object(schema.child("k").expect("values"), rest, count, differ)})
        }
    }
}

#[test]
fn every_list_of_every_kind() {
    let mut growth = Growth::default();
    for kind in Kinds::new().served() {
        let schema = Target::of(&kind).schema;
        for (path, _) in Search::of(schema) {
            // What is in a template is looked at as what is in a pod.
            let in_template = path.iter().any(|step| matches!(step, Step::Field("template")));
            if in_template && path.len() > 4 {
                continue;
            }
            for differ in [true, false] {
                let input = |n: usize| object(schema, &path, n, differ);
                let shown: Vec<String> = path.iter().map(|step| format!("{step:?}")).collect();
                let name = format!("{kind:?} {} differ {differ}", shown.join(" "));
                growth.of(&name, 8, input, |new| pass(&kind, new, new));
            }
        }
    }
    growth.finish(200);
}

fn list(count: usize, one: impl Fn(usize) -> Value) -> Value {
    (0..count).map(one).collect()
}

fn names(count: usize) -> Value {
    list(count, |i| json!({"name": format!("n{i}")}))
}

fn pod(spec: Value) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x", "namespace": "n", "resourceVersion": "1"}, "spec": spec})
}

/// A pod with one container, which says this.
fn container(more: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i"});
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "containers": [container] })
}

fn with(mut spec: Value, more: Value) -> Value {
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

#[test]
fn lists_that_are_held_against_each_other() {
    let mut growth = Growth::default();
    let mut case = |name: &str, size: usize, make: &dyn Fn(usize) -> (Value, Value)| {
        growth.of(name, size, make, |(new, old): &(Value, Value)| pass(&POD, new, old));
    };
    let mut alone = |name: &str, size: usize, make: &dyn Fn(usize) -> Value| {
        case(name, size, &|n| (pod(make(n)), pod(make(n))));
    };
    let claims = |n: usize| list(n, |i| json!({"name": format!("n{i}"), "emptyDir": {}}));
    alone("mounts and volumes", 64, &|n| {
        let mounts = list(n, |i| json!({"name": format!("n{i}"), "mountPath": format!("/m{i}")}));
        with(container(json!({"volumeMounts": mounts})), json!({"volumes": claims(n)}))
    });
    alone("mounts of nothing", 64, &|n| {
        let mounts = list(n, |i| json!({"name": format!("m{i}"), "mountPath": "/m"}));
        with(container(json!({"volumeMounts": mounts})), json!({"volumes": claims(n)}))
    });
    alone("mounts and devices", 64, &|n| {
        let mounts = list(n, |i| json!({"name": format!("m{i}"), "mountPath": format!("/m{i}")}));
        let devices = list(n, |i| json!({"name": format!("d{i}"), "devicePath": format!("/d{i}")}));
        container(json!({"volumeMounts": mounts, "volumeDevices": devices}))
    });
    alone("variables from files and volumes", 64, &|n| {
        let env = list(
            n,
            |i| json!({"name": format!("E{i}"), "valueFrom": {"fileKeyRef": {"volumeName": format!("n{}", n - i), "path": "p", "key": "k"}}}),
        );
        with(container(json!({ "env": env })), json!({"volumes": claims(n)}))
    });
    alone("claims", 64, &|n| {
        let used = list(n, |i| json!({"name": format!("n{i}"), "request": "r"}));
        with(container(json!({"resources": {"claims": used}})), json!({"resourceClaims": names(n)}))
    });
    // Of these two each fault prints all there is: the small input comes to the megabyte of faults that is told.
    alone("claims that are not there", 300, &|n| {
        let used = list(n, |i| json!({"name": format!("m{i}")}));
        with(container(json!({"resources": {"claims": used}})), json!({"resourceClaims": names(n)}))
    });
    alone("claims of many containers", 32, &|n| {
        let one = |i: usize| json!({"name": format!("c{i}"), "image": "i", "resources": {"claims": [{"name": "n0"}]}});
        json!({"containers": list(n, one), "resourceClaims": names(n)})
    });
    alone("equal ports", 256, &|n| container(json!({"ports": list(n, |_| json!({"containerPort": 80}))})));
    alone("ports of the host", 64, &|n| {
        container(
            json!({"ports": list(n, |i| json!({"containerPort": 80, "hostPort": i + 1, "hostIP": "10.0.0.1"}))}),
        )
    });
    alone("ports of one name", 64, &|n| {
        container(json!({"ports": list(n, |i| json!({"containerPort": i + 1, "name": "a"}))}))
    });
    alone("variables of one name", 64, &|n| {
        container(json!({"env": list(n, |_| json!({"name": "A", "value": "$(A)"}))}))
    });
    alone("capabilities", 64, &|n| {
        let capabilities = json!({"add": list(n, |_| json!("CAP_SYS_ADMIN"))});
        container(
            json!({"securityContext": {"allowPrivilegeEscalation": false, "capabilities": capabilities}}),
        )
    });
    alone("sidecars with resources of their own", 32, &|n| {
        let one = |i: usize| {
            json!({"name": format!("s{i}"), "image": "i", "restartPolicy": "Always",
                "resources": {"limits": {format!("e.com/r{i}"): "1"}, "requests": {format!("e.com/r{i}"): "1"}}})
        };
        with(
            container(json!({})),
            json!({"initContainers": list(n, one), "resources": {"requests": {"cpu": "1"}}}),
        )
    });
    alone("init containers with resources of their own", 32, &|n| {
        let one = |i: usize| {
            json!({"name": format!("s{i}"), "image": "i", "restartPolicy": if i.is_multiple_of(2) { "Always" } else { "" },
                "resources": {"requests": {format!("e.com/r{i}"): "1"}}})
        };
        with(
            container(json!({})),
            json!({"initContainers": list(n, one), "resources": {"requests": {"cpu": "1"}}}),
        )
    });
    for (name, key) in [("equal", "p"), ("nested", "p/")] {
        alone(&format!("{name} paths in a volume"), 64, &|n| {
            let path =
                |i: usize| if key == "p" { "p".to_owned() } else { format!("p{}", "/a".repeat(i % 20)) };
            let items = list(n, |i| json!({"key": "k", "path": path(i)}));
            with(
                container(json!({})),
                json!({"volumes": [{"name": "v", "configMap": {"name": "m", "items": items}}]}),
            )
        });
    }
    alone("sources in a volume", 64, &|n| {
        let source =
            |i: usize| json!({"configMap": {"name": format!("m{i}"), "items": [{"key": "k", "path": "p"}]}});
        with(
            container(json!({})),
            json!({"volumes": [{"name": "v", "projected": {"sources": list(n, source)}}]}),
        )
    });
    alone("a list in a text", 500, &|n| {
        let quobyte = json!({"registry": ",".repeat(n), "volume": "v"});
        with(container(json!({})), json!({"volumes": [{"name": "v", "quobyte": quobyte}]}))
    });
    alone("spread constraints", 64, &|n| {
        let one = |i: usize| json!({"topologyKey": format!("k{}", i / 2), "whenUnsatisfiable": "DoNotSchedule", "maxSkew": 1});
        with(container(json!({})), json!({"topologySpreadConstraints": list(n, one)}))
    });
    alone("keys to match", 64, &|n| {
        let term = json!({"topologyKey": "k", "matchLabelKeys": list(n, |i| json!(format!("a{i}"))),
            "mismatchLabelKeys": list(n, |i| json!(format!("b{i}"))),
            "labelSelector": {"matchExpressions": list(n, |i| json!({"key": format!("c{i}"), "operator": "Exists"}))}});
        let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        let constraint = json!({"topologyKey": "k", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
            "matchLabelKeys": term["matchLabelKeys"], "labelSelector": term["labelSelector"]});
        with(container(json!({})), json!({"affinity": affinity, "topologySpreadConstraints": [constraint]}))
    });
    case("one key to match again and again", 64, &|n| {
        let term =
            json!({"topologyKey": "k", "matchLabelKeys": list(n, |_| json!("a")), "labelSelector": {}});
        let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        let mut pod = pod(with(container(json!({})), json!({ "affinity": affinity })));
        pod["metadata"]["labels"] = json!({"a": "b"});
        (pod.clone(), pod)
    });
    case("tolerations before and after", 64, &|n| {
        let one = |from: usize| {
            let tolerations = list(n, |i| json!({"key": format!("k{}", from + i), "operator": "Exists"}));
            pod(with(container(json!({})), json!({ "tolerations": tolerations })))
        };
        (one(0), one(n))
    });
    case("gates before and after", 64, &|n| {
        let gates = |word: &str| list(n, |i| json!({"name": format!("{word}{i}")}));
        let one = |word: &str| pod(with(container(json!({})), json!({"schedulingGates": gates(word)})));
        (one("a"), one("b"))
    });
    case("arguments before and after", 512, &|n| {
        let one = |word: &str| pod(container(json!({"args": list(n, |i| json!(format!("{word}{i}")))})));
        (one("a"), one("b"))
    });
    case("ephemeral containers before and after", 32, &|n| {
        let one = |image: &str| {
            let all = list(n, |i| json!({"name": format!("e{i}"), "image": image}));
            pod(with(container(json!({})), json!({"ephemeralContainers": all})))
        };
        (one("i"), one("j"))
    });
    case("profiles in annotations", 32, &|n| {
        let mut pod = pod(json!({"containers": list(n, |i| json!({"name": format!("c{i}"), "image": "i"}))}));
        for i in 0..n {
            for (prefix, profile) in [
                ("container.apparmor.security.beta.kubernetes.io/", "localhost/a"),
                ("container.seccomp.security.alpha.kubernetes.io/", "localhost/a"),
            ] {
                pod["metadata"]["annotations"][format!("{prefix}c{}", n - i)] = json!(profile);
            }
        }
        (pod.clone(), pod)
    });
    case("statuses of containers", 32, &|n| {
        let one = |state: &str| {
            let containers = list(n, |i| json!({"name": format!("c{i}"), "image": "i"}));
            let mut pod = pod(json!({"restartPolicy": "Never", "containers": containers,
                "initContainers": list(n, |i| json!({"name": format!("i{i}"), "image": "i", "restartPolicy": "Always"}))}));
            let status = |word: &str| {
                list(n, |i| json!({"name": format!("{word}{i}"), "started": true, "state": {state: {}}}))
            };
            pod["status"] = json!({"containerStatuses": status("c"), "initContainerStatuses": status("i")});
            pod
        };
        (one("running"), one("terminated"))
    });
    case("statuses of one container", 64, &|n| {
        let one = |state: &str| {
            let mut pod = pod(with(container(json!({})), json!({"restartPolicy": "Never"})));
            pod["status"] =
                json!({"containerStatuses": list(n, |_| json!({"name": "c", "state": {state: {}}}))});
            pod
        };
        (one("running"), one("terminated"))
    });
    case("conditions and gates", 64, &|n| {
        let mut pod = pod(with(
            container(json!({})),
            json!({"readinessGates": list(n, |i| json!({"conditionType": format!("g{i}")}))}),
        ));
        pod["status"] = json!({"conditions": list(n, |i| json!({"type": format!("g{}", n - i), "status": "True"})),
            "resourceClaimStatuses": list(n, |i| json!({"name": format!("n{i}")}))});
        pod["spec"]["resourceClaims"] = names(n);
        (pod.clone(), pod)
    });
    case("owners that all control", 64, &|n| {
        let mut pod = pod(container(json!({})));
        pod["metadata"]["ownerReferences"] = list(
            n,
            |i| json!({"apiVersion": "v1", "kind": "Pod", "name": format!("o{i}"), "uid": format!("u{i}"), "controller": true}),
        );
        (pod.clone(), pod)
    });
    growth.of(
        "addresses of a service",
        64,
        |n| {
            let one = |word: &str| {
                let addresses = list(n, |i| json!(format!("{word}{i}")));
                json!({"metadata": {"name": "s", "namespace": "n", "resourceVersion": "1"}, "spec": {"type": "ClusterIP",
                    "clusterIP": "a0", "clusterIPs": addresses, "ipFamilies": addresses,
                    "ports": list(n, |i| json!({"name": format!("p{i}"), "port": i + 1, "nodePort": i + 1}))}})
            };
            (one("a"), one("b"))
        },
        |(new, old): &(Value, Value)| {
            let mut normal = new.clone();
            kinds::service::normalize_update(&mut normal, old);
            pass(&SERVICE, new, old)
        },
    );
    growth.of(
        "taints and ranges of a node",
        64,
        |n| {
            json!({"metadata": {"name": "n", "resourceVersion": "1"}, "spec": {
                "taints": list(n, |i| json!({"key": format!("k{}", i / 2), "effect": "NoSchedule"})),
                "podCIDRs": list(n, |i| json!(format!("10.{}.0.0/16", i % 200)))}})
        },
        |new| pass(&NODE, new, new),
    );
    growth.of(
        "a selector and its template",
        64,
        |n| {
            let labels: Map<String, Value> = (0..n).map(|i| (format!("k{i}"), json!("v"))).collect();
            let expressions = list(n, |i| json!({"key": format!("k{i}"), "operator": "In", "values": ["v"]}));
            json!({"metadata": {"name": "d", "namespace": "n", "resourceVersion": "1"}, "spec": {
                "selector": {"matchLabels": labels, "matchExpressions": expressions},
                "template": {"metadata": {"labels": labels}, "spec": container(json!({}))}}})
        },
        |new| pass(&DEPLOYMENT, new, new),
    );
    growth.finish(30);
}

#[test]
fn tables() {
    let mut growth = Growth::default();
    for kind in Kinds::new().served() {
        let one = small(Target::of(&kind).schema, 5, 2);
        let form = Form {
            api_version: "meta.k8s.io/v1",
            include: Include::Object,
            headed: true,
            now: "2026-01-02T03:04:09Z".parse().unwrap(),
        };
        growth.of(
            &format!("table of {kind:?}"),
            16,
            |n| vec![one.clone(); n],
            |objects: &Vec<Value>| kind.table.print(objects, json!({}), form),
        );
    }
    growth.finish(13);
}

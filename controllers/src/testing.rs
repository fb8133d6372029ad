//! Short ways to make objects for the tests beside the plans.

use coracle_client::{Action, Op, Typed};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde_json::{Value, json};

/// A moment, in seconds since the tests' own beginning of time.
pub fn time(seconds: i64) -> Time {
    Time(Timestamp::from_second(1_700_000_000 + seconds).expect("a time in range"))
}

/// Metadata whose controller has this uid.
pub fn owned_by(uid: &str) -> ObjectMeta {
    let owner = OwnerReference { uid: uid.into(), controller: Some(true), ..OwnerReference::default() };
    ObjectMeta { owner_references: Some(vec![owner]), ..ObjectMeta::default() }
}

/// An object in the making, as JSON, so that tests say only what matters to them.
pub struct Make(pub Value);

impl Make {
    fn with(mut self, pointer: &str, value: Value) -> Make {
        let mut at = &mut self.0;
        for step in pointer.split('.') {
            at = &mut at[step];
        }
        *at = value;
        self
    }

    /// The object.
    pub fn build<K: Typed>(self) -> K {
        K::from_json(self.0.to_string().as_bytes()).expect("an object of its type")
    }

    pub fn label(mut self, key: &str, value: &str) -> Make {
        self.0["metadata"]["labels"][key] = json!(value);
        self
    }

    pub fn annotated(mut self, key: &str, value: &str) -> Make {
        self.0["metadata"]["annotations"][key] = json!(value);
        self
    }

    pub fn created(self, seconds: i64) -> Make {
        self.with("metadata.creationTimestamp", json!(time(seconds)))
    }

    pub fn deleted(self, seconds: i64) -> Make {
        self.with("metadata.deletionTimestamp", json!(time(seconds)))
    }

    pub fn owned(self, kind: &str, name: &str, uid: &str) -> Make {
        let owner = json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true,
            "blockOwnerDeletion": true}]);
        self.with("metadata.ownerReferences", owner)
    }

    pub fn node(self, name: &str) -> Make {
        self.with("spec.nodeName", json!(name))
    }

    pub fn phase(self, phase: &str) -> Make {
        self.with("status.phase", json!(phase))
    }

    pub fn ready(self, since: i64) -> Make {
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": time(since)}]);
        self.phase("Running").with("status.conditions", ready)
    }

    pub fn restarts(self, count: i32) -> Make {
        let status =
            json!([{"name": "c", "image": "i", "imageID": "i", "ready": true, "restartCount": count}]);
        self.with("status.containerStatuses", status)
    }

    pub fn replicas(self, count: i32) -> Make {
        self.with("spec.replicas", json!(count))
    }

    pub fn template_label(mut self, key: &str, value: &str) -> Make {
        self.0["spec"]["template"]["metadata"]["labels"][key] = json!(value);
        self
    }

    pub fn rolling(self, surge: &str, unavailable: &str) -> Make {
        let value = |text: &str| text.parse::<i32>().map_or_else(|_| json!(text), |number| json!(number));
        let update = json!({"maxSurge": value(surge), "maxUnavailable": value(unavailable)});
        self.with("spec.strategy", json!({"type": "RollingUpdate", "rollingUpdate": update}))
    }

    pub fn recreate(self) -> Make {
        self.with("spec.strategy", json!({"type": "Recreate"}))
    }

    pub fn spec(self, field: &str, value: Value) -> Make {
        self.with(&format!("spec.{field}"), value)
    }
}

fn object(api_version: &str, kind: &str, name: &str) -> Make {
    Make(json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("{name}-uid"), "resourceVersion": "1", "generation": 1,
            "labels": {"app": "x"},
        },
    }))
}

/// A pod with the label `app: x`.
pub fn pod(name: &str) -> Make {
    object("v1", "Pod", name).with("spec", json!({"containers": [{"name": "c"}]})).phase("Pending")
}

fn workload(kind: &str, name: &str) -> Make {
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c"}]}});
    object("apps/v1", kind, name)
        .with("spec", json!({"replicas": 1, "selector": {"matchLabels": {"app": "x"}}, "template": template}))
}

/// A ReplicaSet of one pod with the label `app: x`.
pub fn set(name: &str) -> Make {
    workload("ReplicaSet", name)
}

/// A Deployment of one pod with the label `app: x`.
pub fn deployment(name: &str) -> Make {
    workload("Deployment", name)
        .spec("progressDeadlineSeconds", json!(600))
        .spec("revisionHistoryLimit", json!(10))
}

/// The object that an action makes or replaces.
pub fn object_of<K: Typed>(action: &Action) -> K {
    let Some(Op::Create { object, .. } | Op::Update { object, .. }) = action.op() else {
        panic!("{action} writes no whole object");
    };
    K::from_json(object.to_string().as_bytes()).expect("an object of its type")
}

/// Applies a merge patch to an object.
pub fn merged<K: Typed>(object: &K, patch: &Value) -> K {
    fn merge(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        for (key, value) in patch {
            match value {
                Value::Null => {
                    target.as_object_mut().expect("an object").shift_remove(key);
                }
                _ => merge(&mut target[key], value),
            }
        }
    }
    let mut value = object.to_value();
    merge(&mut value, patch);
    K::from_json(value.to_string().as_bytes()).expect("a patched object of its type")
}

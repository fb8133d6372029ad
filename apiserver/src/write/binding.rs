//! What is posted to a pod's `/binding`: the node it goes to.

use coracle_api::decode::Target;
use coracle_api::status::Details;
use coracle_api::{Key, Status};
use serde_json::{Value, json};

use super::meta::{is_deleting, meta, text, time_text};
use super::operation::{Body, Context, Written};
use super::update::{STALE, check_uid};
use super::{Failure, Registry, TRIES, decode};
use crate::admission::attributes::{Extras, Operation};
use crate::store::Verb;

impl Registry {
    /// `POST` to `/binding`.
    pub(super) async fn bind(
        &self,
        context: &Context,
        pod: &Key,
        body: Body,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let mut binding = decode::typed(context, &target("", "v1", "Binding")?, body, warnings)?;
        if text(&binding, "name") != pod.name {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        let (old, mut extras) = (Value::Null, Extras::default());
        let asked = self.asked(context, Operation::Create, pod, "binding", &old);
        self.admit(&asked, &mut binding, &mut extras).await?;
        warnings.append(&mut extras.warnings);
        let node = node_of(&binding)?;
        for _ in 0..TRIES {
            let old = self.entry(pod).ok_or_else(|| Status::not_found(&pod.kind, &pod.name))?;
            let value = old.value();
            check_uid(pod, text(&binding, "uid"), &value)?;
            let new = self.bound(pod, &value, &binding, node)?;
            match self.commit(context, pod, Some(&old), Verb::Update, &new, Vec::new()).await {
                Ok(entry) => return Ok(done(entry.object)),
                Err(Failure::Refused(status) | Failure::Unknown(status)) => return Err(*status),
                Err(Failure::Conflict | Failure::Raced) => {}
            }
        }
        Err(Status::conflict(&pod.kind, &pod.name, STALE))
    }

    fn bound(&self, pod: &Key, old: &Value, binding: &Value, node: &str) -> Result<Value, Status> {
        let name = &pod.name;
        let refuse = |why: String| {
            let details = Details { name: name.clone(), kind: "pods/binding".into(), ..Details::default() };
            let text = format!("Operation cannot be fulfilled on pods/binding {name:?}: {why}");
            Err(Status::failure(409, "Conflict", text).with_details(details))
        };
        if is_deleting(old) {
            return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        if let Some(other) = old["spec"]["nodeName"].as_str().filter(|other| !other.is_empty()) {
            return refuse(format!("pod {name} is already assigned to node {other:?}"));
        }
        if old["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
            return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
        }
        let mut new = old.clone();
        new["spec"]["nodeName"] = node.into();
        for field in ["annotations", "labels"] {
            let Some(added) = binding["metadata"][field].as_object().filter(|map| !map.is_empty()) else {
                continue;
            };
            let mut all = old["metadata"][field].as_object().cloned().unwrap_or_default();
            all.extend(added.clone());
            meta(&mut new).insert(field.into(), all.into());
        }
        set_scheduled(&mut new, &time_text(self.clock().now()));
        Ok(new)
    }
}

/// A success that shows nothing.
pub(super) fn done(object: std::sync::Arc<coracle_api::Object>) -> Written {
    let success =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Written { shown: Some(success), created: true, ..Written::changed(object) }
}

/// The name of the node that a binding asks for. Upstream hands the faults out as they are, without a reason.
fn node_of(binding: &Value) -> Result<&str, Status> {
    let target = &binding["target"];
    let kind = target["kind"].as_str().unwrap_or_default();
    if !matches!(kind, "" | "Node") {
        let text =
            format!("target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\"");
        return Err(Status::failure(500, "", text));
    }
    match target["name"].as_str().unwrap_or_default() {
        "" => Err(Status::failure(500, "", "target.name: Required value")),
        name => Ok(name),
    }
}

/// `PodScheduled` becomes True.
fn set_scheduled(pod: &mut Value, now: &str) {
    let condition =
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    set_condition(pod, condition);
}

/// A condition in place of the one of its type.
pub(super) fn set_condition(pod: &mut Value, condition: Value) {
    if !pod["status"].is_object() {
        pod["status"] = json!({});
    }
    let mut list = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    match list.iter_mut().find(|c| c["type"] == condition["type"]) {
        Some(old) => *old = condition,
        None => list.push(condition),
    }
    pod["status"]["conditions"] = list.into();
}

fn target(group: &'static str, version: &'static str, kind: &'static str) -> Result<Target<'static>, Status> {
    Target::named(group, version, kind).ok_or_else(|| Status::internal(format!("no schema for {kind}")))
}

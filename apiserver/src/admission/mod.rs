//! What a new object must pass, and what is filled in on its way: a chain, run in upstream's order, before the kind's own
//! rules are asked.
//!
//! ```text
//!  create -> namespace -> account -> priority -> tolerations -> runtime class -> prepare, validate
//! ```

mod account;
mod namespace;
pub mod node_restriction;
mod priority;
mod tolerations;
pub mod unserved;

use coracle_api::{KindRef, Status};
use serde_json::Value;

use crate::registry::Registry;

pub use account::await_default;
pub use namespace::admit_delete;

/// What a link of the chain sees of a new object.
pub struct Admission<'a> {
    /// What else there is.
    pub registry: &'a Registry,
    /// The object's kind.
    pub kind: &'a KindRef,
    /// Its namespace; empty for cluster-scoped kinds.
    pub namespace: &'a str,
}

/// One link: looks at an object, fills it in, or refuses it.
type Link = fn(&Admission<'_>, &mut Value) -> Result<(), Status>;

/// The chain.
const CHAIN: &[Link] =
    &[namespace::admit, account::admit, priority::admit, tolerations::admit, refuse_runtime_classes];

/// Runs the chain for a new object.
///
/// # Errors
/// 403 or 404, with upstream's texts.
pub fn admit_create(admission: &Admission<'_>, object: &mut Value) -> Result<(), Status> {
    CHAIN.iter().try_for_each(|link| link(admission, object))
}

/// The part of the chain that a changed pod meets again: what it fills in is there even if the client left it out.
pub fn admit_pod_update(new: &mut Value, old: &Value) {
    tolerations::fill(new);
    let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for field in ["priority", "preemptionPolicy"] {
        if let Some(kept) = old["spec"].get(field) {
            spec.entry(field).or_insert_with(|| kept.clone());
        }
    }
}

impl Admission<'_> {
    fn is_pod(&self) -> bool {
        self.kind.group().is_empty() && self.kind.plural() == "pods"
    }

    fn forbid(&self, object: &Value, why: &str) -> Status {
        Status::forbidden(self.kind, object["metadata"]["name"].as_str().unwrap_or_default(), why)
    }
}

/// There are no runtime classes, and so nothing that defines an overhead.
fn refuse_runtime_classes(admission: &Admission<'_>, pod: &mut Value) -> Result<(), Status> {
    if !admission.is_pod() {
        return Ok(());
    }
    match pod["spec"]["runtimeClassName"].as_str() {
        Some(name) => Err(admission.forbid(pod, &format!("pod rejected: RuntimeClass {name:?} not found"))),
        None if pod["spec"].get("overhead").is_some() => {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            Err(admission.forbid(pod, why))
        }
        None => Ok(()),
    }
}

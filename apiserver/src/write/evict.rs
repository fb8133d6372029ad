//! `POST` to a pod's `/eviction`: it is asked to leave, if its disruption budget allows.
//!
//! Source: `pkg/registry/core/pod/storage/eviction.go`.

use coracle_api::decode::Target;
use coracle_api::status::{Cause, Details};
use coracle_api::{Key, Status, kinds, selector};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::binding::{done, set_condition};
use super::delete::{DeleteOutcome, check_preconditions, step};
use super::meta::{is_deleting, text, time_text};
use super::operation::{Body, Context, DeleteOptions, Written};
use super::update::STALE;
use super::{Failure, Registry, TRIES, decode, nothing_stored, unstored};
use crate::admission::attributes::{Companion, Extras, Operation};
use crate::entry::Entry;
use crate::store::{Expected, Verb};

/// More evictions than this that were granted and not yet seen to happen are too many.
const MOST_GRANTED: usize = 2000;

/// What the budgets allow.
#[derive(Debug, PartialEq)]
enum Grant {
    /// The pod may be evicted without being counted, if it has not changed meanwhile.
    Uncounted,
    /// The pod may be evicted, and this is the budget with the eviction counted.
    Counted(Box<Value>),
}

impl Registry {
    /// Deletes a pod if its disruption budget allows, and says so in its status.
    pub(super) async fn evict(
        &self,
        context: &Context,
        pod: &Key,
        body: Body,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let mut eviction = read(context, body, warnings)?;
        if text(&eviction, "name") != pod.name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let given = &eviction["deleteOptions"];
        let options = DeleteOptions {
            uid: given["preconditions"]["uid"].as_str().map(str::to_string),
            revision: given["preconditions"]["resourceVersion"].as_str().map(str::to_string),
            grace_seconds: given["gracePeriodSeconds"].as_i64(),
            ..DeleteOptions::default()
        };
        let dry_run = context.dry_run || given["dryRun"].as_array().is_some_and(|list| !list.is_empty());
        let context = &Context { dry_run, ..context.clone() };
        let (old, mut extras) = (Value::Null, Extras::default());
        let asked = self.asked(context, Operation::Create, pod, "eviction", &old);
        self.admit(&asked, &mut eviction, &mut extras).await?;
        warnings.append(&mut extras.warnings);
        for _ in 0..TRIES {
            match self.evict_once(context, pod, &options).await {
                Ok(written) => return Ok(written),
                Err(Failure::Refused(status) | Failure::Unknown(status)) => return Err(*status),
                Err(Failure::Conflict | Failure::Raced) => {}
            }
        }
        Err(Status::conflict(&pod.kind, &pod.name, STALE))
    }

    /// Counts the eviction in the pod's budget, writes the reason into the pod, and deletes it: all in one commit, or
    /// nothing, if somebody has written to either meanwhile.
    async fn evict_once(
        &self,
        context: &Context,
        key: &Key,
        options: &DeleteOptions,
    ) -> Result<Written, Failure> {
        let missing = || Failure::refused(Status::not_found(&key.kind, &key.name));
        let entry = self.entry(key).ok_or_else(missing)?;
        let (old, now) = (entry.value(), self.clock().now());
        let budget = self.ask_budget(&old, key, now).map_err(Failure::refused)?;
        check_preconditions(key, &old, options).map_err(Failure::refused)?;
        let pod = told_why(&old, now);
        let (goes, gone) = match step(key, &pod, options, now) {
            DeleteOutcome::Pending => (vec![], false),
            DeleteOutcome::Mark(marked) if marked == pod => (vec![], false),
            DeleteOutcome::Mark(marked) => (vec![(Verb::Update, marked)], false),
            DeleteOutcome::Remove(last) => (vec![(Verb::Delete, last)], true),
            DeleteOutcome::MarkAndRemove(last) => {
                (vec![(Verb::Update, last.clone()), (Verb::Delete, last)], true)
            }
        };
        if context.dry_run {
            return Ok(Written { gone, ..done(unstored(key, &pod).object) });
        }
        let expected = Expected::At(entry.object.revision);
        let mut changes = vec![self.change(context, key, expected, Verb::Update, &pod)];
        for (verb, object) in &goes {
            changes.push(self.change(context, key, Expected::Earlier, *verb, object));
        }
        let last = changes.len() - 1;
        let made = self.commit_together(context, changes, budget.into_iter().collect()).await?;
        let object = made.into_iter().nth(last).ok_or_else(nothing_stored)?;
        Ok(Written { gone, ..done(object) })
    }

    /// The pod's budget with the eviction counted in it, if there is one that counts it.
    fn ask_budget(&self, pod: &Value, key: &Key, now: Timestamp) -> Result<Option<Companion>, Status> {
        if goes_anyway(pod) {
            return Ok(None);
        }
        let mut budgets = self.budgets_of(pod, &key.namespace);
        let Some(read) = budgets.pop() else { return Ok(None) };
        if !budgets.is_empty() {
            let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::failure(500, "", text));
        }
        Ok(match ask(&read.value(), pod, &time_text(now))? {
            Grant::Counted(object) => Some(Companion { read, object: *object }),
            // The pod must still be as it was looked at, which the commit sees to.
            Grant::Uncounted => None,
        })
    }

    /// The budgets that count a pod.
    fn budgets_of(&self, pod: &Value, namespace: &str) -> Vec<Entry> {
        let all = self.state.all(&kinds::POD_DISRUPTION_BUDGET, Some(namespace));
        let counts = |entry: &Entry| {
            let selector = selector::from_object(&entry.value()["spec"]["selector"]);
            selector.is_ok_and(|selector| selector.matches(&pod["metadata"]["labels"]))
        };
        all.into_iter().filter(counts).collect()
    }
}

/// The pod with the reason of its end in its status, for whoever sees it go.
fn told_why(old: &Value, now: Timestamp) -> Value {
    let mut pod = old.clone();
    let mut condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": time_text(now),
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    });
    if let Some(generation) = pod["metadata"]["generation"].as_i64() {
        condition["observedGeneration"] = generation.into();
    }
    set_condition(&mut pod, condition);
    pod
}

/// Decodes an `Eviction` of `policy/v1`, else of `policy/v1beta1`.
fn read(context: &Context, body: Body, warnings: &mut Vec<String>) -> Result<Value, Status> {
    let now = Target::named("policy", "v1", "Eviction")
        .ok_or_else(|| Status::internal("no schema for Eviction"))?;
    let before = Target { version: "v1beta1", ..now };
    decode::typed(context, &now, body.clone(), warnings)
        .or_else(|refused| decode::typed(context, &before, body, warnings).map_err(|_| refused))
}

/// Whether no budget is asked: the pod does not run yet, has ended, or is being deleted already.
fn goes_anyway(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    is_deleting(pod) || matches!(phase, "Pending" | "Succeeded" | "Failed")
}

/// Decides. Pure.
fn ask(budget: &Value, pod: &Value, now: &str) -> Result<Grant, Status> {
    let name = text(budget, "name");
    let status = &budget["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let (needed, healthy) = (count("desiredHealthy"), count("currentHealthy"));
    if !is_ready(pod) {
        let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
        if always || (needed > 0 && healthy >= needed) {
            return Ok(Grant::Uncounted);
        }
    }
    if count("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(not_now(why, 10));
    }
    if count("disruptionsAllowed") < 0 {
        return Err(forbidden(name, "pdb disruptions allowed is negative"));
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > MOST_GRANTED) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(forbidden(name, why));
    }
    if count("disruptionsAllowed") == 0 {
        let why =
            format!("The disruption budget {name} needs {needed} healthy pods and has {healthy} currently");
        return Err(not_now(why, 0));
    }
    let mut new = budget.clone();
    let left = count("disruptionsAllowed") - 1;
    new["status"]["disruptionsAllowed"] = left.into();
    new["status"]["disruptedPods"][text(pod, "name")] = now.into();
    let conditions = new["status"]["conditions"].as_array_mut().into_iter().flatten();
    for condition in conditions.filter(|condition| left == 0 && condition["type"] == "DisruptionAllowed") {
        if condition["status"] == "True" {
            condition["lastTransitionTime"] = now.into();
        }
        condition["status"] = "False".into();
        condition["reason"] = "InsufficientPods".into();
    }
    Ok(Grant::Counted(Box::new(new)))
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|condition| condition["type"] == "Ready").any(|ready| ready["status"] == "True")
}

/// 429, with upstream's text: `kubectl drain` waits and tries again.
fn not_now(why: String, retry_after_seconds: i32) -> Status {
    let cause = Cause { reason: "DisruptionBudget".into(), message: why, ..Cause::default() };
    let details = Details { causes: vec![cause], retry_after_seconds, ..Details::default() };
    let text = "Cannot evict pod as it would violate the pod's disruption budget.";
    Status::failure(429, "TooManyRequests", text).with_details(details)
}

/// Upstream names the kind in the singular here.
fn forbidden(name: &str, why: &str) -> Status {
    let text = format!("poddisruptionbudget.policy {name:?} is forbidden: {why}");
    let details = Details {
        name: name.into(),
        group: "policy".into(),
        kind: "poddisruptionbudget".into(),
        ..Details::default()
    };
    Status::failure(403, "Forbidden", text).with_details(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(allowed: i64, healthy: i64, policy: &str, ready: bool, observed: i64) -> String {
        let budget = json!({
            "metadata": {"name": "b", "generation": 2},
            "spec": {"unhealthyPodEvictionPolicy": policy},
            "status": {"disruptionsAllowed": allowed, "desiredHealthy": 3, "currentHealthy": healthy, "observedGeneration": observed,
                "conditions": [{"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods"}]},
        });
        let conditions = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
        let pod =
            json!({"metadata": {"name": "p"}, "status": {"phase": "Running", "conditions": conditions}});
        match ask(&budget, &pod, "now") {
            Ok(Grant::Uncounted) => "uncounted".into(),
            Ok(Grant::Counted(new)) => {
                let status = &new["status"];
                assert_eq!(status["disruptedPods"], json!({"p": "now"}));
                format!("{} {}", status["disruptionsAllowed"], status["conditions"][0]["status"])
            }
            Err(status) => {
                let details = status.details.unwrap_or_default();
                let cause = details.causes.into_iter().next().map(|cause| cause.message);
                format!("{} {}", status.code, cause.unwrap_or(status.message))
            }
        }
    }

    #[test]
    fn a_budget_grants_what_it_has_left() {
        let needs = "429 The disruption budget b needs 3 healthy pods and has";
        let cases = [
            ("two left", asked(2, 5, "", true, 2), "1 \"True\"".to_owned()),
            ("one left", asked(1, 4, "", true, 2), "0 \"False\"".to_owned()),
            ("none left", asked(0, 3, "", true, 2), format!("{needs} 3 currently")),
            (
                "not ready, enough others are",
                asked(0, 3, "IfHealthyBudget", false, 2),
                "uncounted".to_owned(),
            ),
            ("not ready, too few are", asked(0, 2, "", false, 2), format!("{needs} 2 currently")),
            ("not ready, and always let go", asked(0, 2, "AlwaysAllow", false, 1), "uncounted".to_owned()),
            (
                "changed and not counted yet",
                asked(1, 4, "", true, 1),
                "429 The disruption budget b is still being processed by the server.".to_owned(),
            ),
            (
                "nonsense",
                asked(-1, 4, "", true, 2),
                "403 poddisruptionbudget.policy \"b\" is forbidden: pdb disruptions allowed is negative"
                    .to_owned(),
            ),
        ];
        for (name, got, expected) in cases {
            assert_eq!(got, expected, "case: {name}");
        }
    }

    #[test]
    fn only_what_runs_is_counted() {
        for (phase, deleted, expected) in [
            ("Running", false, false),
            ("Running", true, true),
            ("Pending", false, true),
            ("Failed", false, true),
        ] {
            let mut pod = json!({"metadata": {}, "status": {"phase": phase}});
            if deleted {
                pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            }
            assert_eq!(goes_anyway(&pod), expected, "case: {phase} {deleted}");
        }
    }
}

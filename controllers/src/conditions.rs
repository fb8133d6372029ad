//! Conditions, whatever they are conditions of: a list in which each type occurs once.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentCondition, ReplicaSetCondition};
use k8s_openapi::api::core::v1::{NamespaceCondition, NodeCondition, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as PlainCondition, Time};

use crate::time::seconds;

/// What all types of conditions have in common.
pub trait Condition: Clone {
    /// Such as `Ready`.
    fn of_type(&self) -> &str;
    /// `True`, `False` or `Unknown`.
    fn status(&self) -> &str;
    /// One word; empty where there is none.
    fn reason(&self) -> &str;
    /// When the status last changed.
    fn transition(&self) -> Option<Time>;
    /// Sets the time at which the status last changed.
    fn set_transition(&mut self, time: Option<Time>);
}

macro_rules! condition {
    ($($kind:ty),+) => {$(
        impl Condition for $kind {
            fn of_type(&self) -> &str {
                &self.type_
            }
            fn status(&self) -> &str {
                &self.status
            }
            fn reason(&self) -> &str {
                self.reason.as_deref().unwrap_or_default()
            }
            fn transition(&self) -> Option<Time> {
                self.last_transition_time.clone()
            }
            fn set_transition(&mut self, time: Option<Time>) {
                self.last_transition_time = time;
            }
        }
    )+};
}

condition!(DeploymentCondition, NamespaceCondition, NodeCondition, PodCondition, ReplicaSetCondition);

impl Condition for PlainCondition {
    fn of_type(&self) -> &str {
        &self.type_
    }
    fn status(&self) -> &str {
        &self.status
    }
    fn reason(&self) -> &str {
        &self.reason
    }
    fn transition(&self) -> Option<Time> {
        Some(self.last_transition_time.clone())
    }
    fn set_transition(&mut self, time: Option<Time>) {
        self.last_transition_time = time.unwrap_or_else(|| self.last_transition_time.clone());
    }
}

/// The condition of a type.
pub fn find<'a, C: Condition>(conditions: &'a [C], of_type: &str) -> Option<&'a C> {
    conditions.iter().find(|condition| condition.of_type() == of_type)
}

/// The reason of the condition of a type; empty where there is none.
pub fn reason<'a, C: Condition>(conditions: &'a [C], of_type: &str) -> &'a str {
    find(conditions, of_type).map(Condition::reason).unwrap_or_default()
}

/// Puts a condition in, in place of the one of its type if there is one. The time of its transition is that of the old one
/// while the status stays, and else `now`.
pub fn put<C: Condition>(conditions: &mut Vec<C>, mut new: C, now: Timestamp) {
    let at = conditions.iter().position(|condition| condition.of_type() == new.of_type());
    let old = at.map(|at| &conditions[at]).filter(|old| old.status() == new.status());
    new.set_transition(old.and_then(Condition::transition).or_else(|| Some(seconds(now))));
    match at {
        Some(at) => conditions[at] = new,
        None => conditions.push(new),
    }
}

/// Takes the condition of a type away.
pub fn remove<C: Condition>(conditions: &mut Vec<C>, of_type: &str) {
    conditions.retain(|condition| condition.of_type() != of_type);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::time;

    #[test]
    fn a_condition_keeps_its_place_and_its_time_while_its_status_stays() {
        let condition = |of_type: &str, status: &str, reason: &str| PodCondition {
            type_: of_type.into(),
            status: status.into(),
            reason: Some(reason.into()),
            ..PodCondition::default()
        };
        let mut all = Vec::new();
        put(&mut all, condition("A", "True", "x"), time(1).0);
        put(&mut all, condition("B", "True", "x"), time(1).0);
        put(&mut all, condition("A", "True", "y"), time(2).0);
        assert_eq!((all[0].of_type(), reason(&all, "A"), all[0].transition()), ("A", "y", Some(time(1))));
        put(&mut all, condition("A", "False", "y"), time(3).0);
        assert_eq!(find(&all, "A").and_then(Condition::transition), Some(time(3)));
        remove(&mut all, "A");
        assert_eq!(all.len(), 1);
        assert_eq!(reason(&all, "A"), "");
    }
}

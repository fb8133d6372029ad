//! The annotations by which a Deployment numbers its ReplicaSets and remembers what it asked of them.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::limits::Limits;

/// The number of the version, on the Deployment and on each of its sets.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// The numbers that a set had before it was rolled back to.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's replicas when the set was last scaled.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The same, and the surge.
const MOST: &str = "deployment.kubernetes.io/max-replicas";

/// What a Deployment's sets do not take over from it.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    DESIRED,
    MOST,
];

/// A history longer than this loses its oldest numbers.
const HISTORY_LENGTH: usize = 2000;

type Annotations = BTreeMap<String, String>;

/// The version of a set; 0 where it has none.
pub fn revision(set: &ReplicaSet) -> i64 {
    number(set, REVISION).unwrap_or(0)
}

/// The replicas that the Deployment had when it last scaled this set.
pub fn desired(set: &ReplicaSet) -> Option<i32> {
    number(set, DESIRED)
}

/// The most pods that the Deployment could have when it last scaled this set.
pub fn most(set: &ReplicaSet) -> Option<i32> {
    number(set, MOST)
}

fn number<N: std::str::FromStr>(set: &ReplicaSet, annotation: &str) -> Option<N> {
    set.metadata.annotations.as_ref()?.get(annotation)?.parse().ok()
}

/// Takes over the Deployment's annotations. Those that it no longer has stay.
pub fn copy(from: Option<&Annotations>, to: &mut Annotations) {
    for (key, value) in from.into_iter().flatten().filter(|(key, _)| !NOT_COPIED.contains(&key.as_str())) {
        to.insert(key.clone(), value.clone());
    }
}

/// Gives a set this version if it is newer than the one it has, which then becomes part of its history.
pub fn renumber(annotations: &mut Annotations, new: i64) {
    let old = annotations.get(REVISION).cloned();
    let old_number = match old.as_deref() {
        None | Some("") => 0,
        // A person wrote something else there: leave it alone.
        Some(text) => match text.parse::<i64>() {
            Ok(number) => number,
            Err(_) => return,
        },
    };
    if old_number >= new {
        return;
    }
    annotations.insert(REVISION.into(), new.to_string());
    if let Some(old) = old {
        let history = annotations.get(HISTORY).map(String::as_str).unwrap_or_default();
        let mut numbers: Vec<&str> = history.split(',').filter(|number| !number.is_empty()).collect();
        numbers.push(&old);
        while numbers.len() > 1 && numbers.iter().map(|n| n.len() + 1).sum::<usize>() > HISTORY_LENGTH + 1 {
            numbers.remove(0);
        }
        let history = numbers.join(",");
        annotations.insert(HISTORY.into(), history);
    }
}

/// Notes what the Deployment asks for at this moment. A later change of its size is told by the difference.
pub fn note_size(annotations: &mut Annotations, limits: Limits) {
    annotations.insert(DESIRED.into(), limits.replicas.to_string());
    annotations.insert(MOST.into(), limits.most().to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_set_that_is_rolled_back_to_remembers_its_numbers() {
        let cases = [
            ("new", annotations(&[]), 1, annotations(&[(REVISION, "1")])),
            ("unchanged", annotations(&[(REVISION, "3")]), 3, annotations(&[(REVISION, "3")])),
            ("older", annotations(&[(REVISION, "3")]), 2, annotations(&[(REVISION, "3")])),
            (
                "back once",
                annotations(&[(REVISION, "1")]),
                3,
                annotations(&[(REVISION, "3"), (HISTORY, "1")]),
            ),
            (
                "back again",
                annotations(&[(REVISION, "3"), (HISTORY, "1")]),
                5,
                annotations(&[(REVISION, "5"), (HISTORY, "1,3")]),
            ),
            ("no number", annotations(&[(REVISION, "x")]), 5, annotations(&[(REVISION, "x")])),
        ];
        for (name, mut annotations, new, expected) in cases {
            renumber(&mut annotations, new);
            assert_eq!(annotations, expected, "case: {name}");
        }
    }

    #[test]
    fn a_long_history_loses_its_oldest_numbers() {
        let long = (100_000..100_285).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let mut annotations = annotations(&[(REVISION, "100285"), (HISTORY, &long)]);
        renumber(&mut annotations, 100_286);
        let history = &annotations[HISTORY];
        assert!(history.len() <= HISTORY_LENGTH, "{}", history.len());
        assert!(history.starts_with("100001,") && history.ends_with(",100285"), "{history}");
    }

    #[test]
    fn what_kubectl_remembers_is_not_copied() {
        let mut to = annotations(&[("stays", "1"), (REVISION, "1")]);
        let from = annotations(&[
            ("a", "1"),
            (REVISION, "9"),
            ("kubectl.kubernetes.io/last-applied-configuration", "{}"),
        ]);
        copy(Some(&from), &mut to);
        assert_eq!(to, annotations(&[("a", "1"), ("stays", "1"), (REVISION, "1")]));
    }
}

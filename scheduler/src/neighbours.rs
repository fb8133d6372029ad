//! The pods that a pod's rules are about, and those whose rules are about it, counted by domain once for a decision, so that
//! a filter asks each node no more than one look-up.

use std::collections::{HashMap, HashSet};

use crate::pod::Pod;
use crate::pod_affinity::PodTerm;
use crate::snapshot::Snapshot;
use crate::spread::SpreadRule;
use crate::terms::Labels;
use crate::view::NodeView;

/// How much an existing pod's required affinity to the new pod is worth; upstream's `hardPodAffinityWeight`.
const REQUIRED_IS_WORTH: i64 = 1;

/// Everything that the filters and scores need to know beyond one node. Empty for pods without such rules.
#[derive(Default)]
pub struct Neighbours {
    /// For each required term, the domains that have a pod it means.
    pub required: Vec<HashSet<String>>,
    /// Nobody is there yet, and the pod itself is one of those that it wants to be near to.
    pub first_of_its_kind: bool,
    /// For each forbidden term, the domains that have a pod it means.
    pub forbidden: Vec<HashSet<String>>,
    /// Domains (label, value) where a pod does not want this one.
    pub unwelcome: HashSet<(String, String)>,
    /// What each domain (label, value) is worth.
    pub liked: HashMap<(String, String), i64>,
    /// The least and the most that a node is worth.
    pub liked_range: (i64, i64),
    /// For each spreading rule, how full its domains are.
    pub spread: Vec<Domains>,
}

/// The domains of one spreading rule.
#[derive(Default)]
pub struct Domains {
    /// Pods of the kind in each domain.
    pub counts: HashMap<String, i64>,
    /// In the emptiest.
    pub least: i64,
    /// In the fullest.
    pub most: i64,
    /// One, if the pod would count itself.
    pub itself: i64,
}

impl Neighbours {
    /// Whether decisions about this pod depend on where other pods are. If not, equal pods share one order of nodes.
    pub fn matter(pod: &Pod, snapshot: &Snapshot) -> bool {
        !pod.shape.pod_affinity.is_empty() || !pod.shape.spread.is_empty() || snapshot.has_rules_about(pod)
    }

    /// Counts them, once for a decision.
    pub fn of(pod: &Pod, snapshot: &Snapshot) -> Neighbours {
        let mut neighbours = Neighbours::default();
        if !Neighbours::matter(pod, snapshot) {
            return neighbours;
        }
        neighbours.count_near(pod, snapshot);
        neighbours.spread = pod.shape.spread.iter().map(|rule| domains(pod, rule, snapshot)).collect();
        neighbours
    }

    fn count_near(&mut self, pod: &Pod, snapshot: &Snapshot) {
        let rules = &pod.shape.pod_affinity;
        self.required = vec![HashSet::new(); rules.required.len()];
        self.forbidden = vec![HashSet::new(); rules.forbidden.len()];
        let means =
            |term: &PodTerm, pod: &Pod| term.means(&pod.labels, &pod.namespace, snapshot.namespaces());
        let means_all = |other: &Pod| rules.required.iter().all(|t| means(t, other));
        let mut anybody = false;
        for (_, node, facts) in snapshot.present() {
            let domain = |term: &PodTerm| facts.labels.get(&term.key).cloned();
            for other in &node.pods {
                if !rules.required.is_empty() && means_all(other) {
                    for (term, found) in rules.required.iter().zip(&mut self.required) {
                        let here = domain(term);
                        anybody |= here.is_some();
                        found.extend(here);
                    }
                }
                for (term, found) in rules.forbidden.iter().zip(&mut self.forbidden) {
                    if means(term, other) {
                        found.extend(domain(term));
                    }
                }
                for (weight, term) in &rules.liked {
                    if means(term, other) {
                        self.like(term, domain(term), i64::from(*weight));
                    }
                }
                let theirs = &other.shape.pod_affinity;
                for term in theirs.forbidden.iter().filter(|t| means(t, pod)) {
                    self.unwelcome.extend(domain(term).map(|d| (term.key.clone(), d)));
                }
                for term in theirs.required.iter().filter(|t| means(t, pod)) {
                    self.like(term, domain(term), REQUIRED_IS_WORTH);
                }
                for (weight, term) in theirs.liked.iter().filter(|(_, t)| means(t, pod)) {
                    self.like(term, domain(term), i64::from(*weight));
                }
            }
        }
        self.first_of_its_kind = !anybody && means_all(pod);
        if !self.liked.is_empty() {
            let worth = snapshot.present().map(|(_, _, facts)| self.worth(&facts.labels));
            self.liked_range = worth.fold((i64::MAX, i64::MIN), |(low, high), w| (low.min(w), high.max(w)));
        }
    }

    fn like(&mut self, term: &PodTerm, domain: Option<String>, weight: i64) {
        if let Some(domain) = domain {
            *self.liked.entry((term.key.clone(), domain)).or_default() += weight;
        }
    }

    /// What a node with those labels is worth.
    pub fn worth(&self, labels: &Labels) -> i64 {
        self.liked.iter().filter(|((key, value), _)| labels.get(key) == Some(value)).map(|(_, w)| w).sum()
    }
}

/// Whether a pod is of the kind that is to be spread. One that is being deleted makes room soon and does not count.
fn counts(rule: &SpreadRule, pod: &Pod) -> bool {
    !pod.terminating && rule.means(&pod.labels)
}

/// Counts the pods of the kind by domain, on the nodes that count as domains.
fn domains(pod: &Pod, rule: &SpreadRule, snapshot: &Snapshot) -> Domains {
    let mut found = Domains { itself: i64::from(counts(rule, pod)), ..Domains::default() };
    // A node counts only if it has the labels of all rules of the same hardness.
    let keys = || pod.shape.spread.iter().filter(|r| r.hard == rule.hard).map(|r| &r.key);
    for (_, node, facts) in snapshot.present() {
        let Some(domain) = facts.labels.get(&rule.key) else { continue };
        let view = NodeView { node, facts };
        if keys().any(|k| !facts.labels.contains_key(k))
            || (rule.honor_affinity && !view.suits(&pod.shape))
            || (rule.honor_taints && view.untolerated(&pod.shape).is_some())
        {
            continue;
        }
        let here = node.pods.iter().filter(|p| p.namespace == pod.namespace && counts(rule, p)).count();
        *found.counts.entry(domain.clone()).or_default() += i64::try_from(here).unwrap_or(i64::MAX);
    }
    let least = found.counts.values().min().copied().unwrap_or(0);
    found.least = if found.counts.len() < rule.min_domains { 0 } else { least };
    found.most = found.counts.values().max().copied().unwrap_or(0);
    found
}

//! What stands around: pods that a pod's rules are about, counted by domain once for a decision, so that a filter
//! asks each node no more than one look-up.

use std::collections::{HashMap, HashSet};

use crate::filter::{self, NodeView};
use crate::near::{NearTerm, SpreadRule};
use crate::pod::Pod;
use crate::snapshot::Snapshot;

/// How much an existing pod's required affinity to the new pod is worth; upstream's `hardPodAffinityWeight`.
const REQUIRED_IS_WORTH: i64 = 1;

/// Everything that the filters and scores need to know beyond one node. Empty for pods without such rules.
#[derive(Default)]
pub struct Around {
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

impl Around {
    /// Whether decisions about this pod depend on where other pods are. If not, equal pods share one order of nodes.
    pub fn matters(pod: &Pod, snapshot: &Snapshot) -> bool {
        snapshot.has_rules() || !pod.shape.near.is_empty() || !pod.shape.spread.is_empty()
    }

    /// Looks around, once for a decision.
    pub fn look(pod: &Pod, snapshot: &Snapshot) -> Around {
        let mut around = Around::default();
        if !Around::matters(pod, snapshot) {
            return around;
        }
        around.count_near(pod, snapshot);
        around.spread = pod.shape.spread.iter().map(|rule| domains(pod, rule, snapshot)).collect();
        around
    }

    fn count_near(&mut self, pod: &Pod, snapshot: &Snapshot) {
        let rules = &pod.shape.near;
        self.required = vec![HashSet::new(); rules.required.len()];
        self.forbidden = vec![HashSet::new(); rules.forbidden.len()];
        let means_all = |other: &Pod| rules.required.iter().all(|t| t.means(other, snapshot));
        let mut anybody = false;
        for (_, node, facts) in snapshot.present() {
            let domain = |term: &NearTerm| facts.labels.get(&term.key).cloned();
            for other in &node.pods {
                if !rules.required.is_empty() && means_all(other) {
                    for (term, found) in rules.required.iter().zip(&mut self.required) {
                        let here = domain(term);
                        anybody |= here.is_some();
                        found.extend(here);
                    }
                }
                for (term, found) in rules.forbidden.iter().zip(&mut self.forbidden) {
                    if term.means(other, snapshot) {
                        found.extend(domain(term));
                    }
                }
                for (weight, term) in &rules.liked {
                    if term.means(other, snapshot) {
                        self.like(term, domain(term), i64::from(*weight));
                    }
                }
                let theirs = &other.shape.near;
                for term in theirs.forbidden.iter().filter(|t| t.means(pod, snapshot)) {
                    self.unwelcome.extend(domain(term).map(|d| (term.key.clone(), d)));
                }
                for term in theirs.required.iter().filter(|t| t.means(pod, snapshot)) {
                    self.like(term, domain(term), REQUIRED_IS_WORTH);
                }
                for (weight, term) in theirs.liked.iter().filter(|(_, t)| t.means(pod, snapshot)) {
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

    fn like(&mut self, term: &NearTerm, domain: Option<String>, weight: i64) {
        if let Some(domain) = domain {
            *self.liked.entry((term.key.clone(), domain)).or_default() += weight;
        }
    }

    /// What a node with those labels is worth.
    pub fn worth(&self, labels: &crate::terms::Labels) -> i64 {
        self.liked.iter().filter(|((key, value), _)| labels.get(key) == Some(value)).map(|(_, w)| w).sum()
    }
}

/// Counts the pods of the kind by domain, on the nodes that count as domains.
fn domains(pod: &Pod, rule: &SpreadRule, snapshot: &Snapshot) -> Domains {
    let mut found = Domains { itself: i64::from(rule.means(pod)), ..Domains::default() };
    // A node counts only if it has the labels of all rules of the same hardness.
    let keys = || pod.shape.spread.iter().filter(|r| r.hard == rule.hard).map(|r| &r.key);
    for (_, node, facts) in snapshot.present() {
        let Some(domain) = facts.labels.get(&rule.key) else { continue };
        let view = NodeView { node, facts };
        if keys().any(|k| !facts.labels.contains_key(k))
            || (rule.honor_affinity && !filter::suits_selector(&pod.shape, view))
            || (rule.honor_taints && filter::untolerated(&pod.shape, facts).is_some())
        {
            continue;
        }
        let here = node.pods.iter().filter(|p| p.namespace == pod.namespace && rule.means(p)).count();
        *found.counts.entry(domain.clone()).or_default() += i64::try_from(here).unwrap_or(i64::MAX);
    }
    let least = found.counts.values().min().copied().unwrap_or(0);
    found.least = if found.counts.len() < rule.min_domains { 0 } else { least };
    found.most = found.counts.values().max().copied().unwrap_or(0);
    found
}

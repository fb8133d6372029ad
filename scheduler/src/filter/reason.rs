//! Why a filter ruled a node out: data, and upstream's words for it.

use crate::pod::{Pod, Shape};

/// A filter's no. Small and without text, because most of them are never read; [`Reason::words`] and
/// [`detail`](super::detail) give the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The pod names its nodes, and this is none of them.
    NotNamed,
    /// Cordoned.
    Cordoned,
    /// The taint with that index is not tolerated.
    Tainted(usize),
    /// The node selector or required node affinity leaves it out.
    Unsuited,
    /// The port with that index in the pod is taken.
    PortTaken(usize),
    /// Too little is free.
    Lacks(Lacks),
    /// It lacks the label of a spreading rule.
    NoDomain,
    /// The spreading rule with that index would be broken.
    TooSkewed(usize),
    /// The domain has no pod that the required rule with that index means.
    NoRequiredPod(usize),
    /// The domain has a pod that the forbidding rule with that index means.
    ForbiddenPod(usize),
    /// A pod of the domain forbids this one.
    KeptAway,
}

impl Reason {
    /// What upstream calls it, for the summary that `kubectl describe` shows. Lacks of several things are listed one by one.
    pub fn words(self, pod: &Pod) -> Vec<String> {
        let one = |text: &str| vec![text.to_string()];
        match self {
            Reason::NotNamed => one("node(s) didn't satisfy plugin(s) [NodeAffinity]"),
            Reason::Cordoned => one("node(s) were unschedulable"),
            Reason::Tainted(_) => one("node(s) had untolerated taint(s)"),
            Reason::Unsuited => one("node(s) didn't match Pod's node affinity/selector"),
            Reason::PortTaken(_) => one("node(s) didn't have free ports for the requested pod ports"),
            Reason::Lacks(lacks) => lacks.words(pod),
            Reason::NoDomain => {
                one("node(s) didn't match pod topology spread constraints (missing required label)")
            }
            Reason::TooSkewed(_) => one("node(s) didn't match pod topology spread constraints"),
            Reason::NoRequiredPod(_) => one("node(s) didn't match pod affinity rules"),
            Reason::ForbiddenPod(_) => one("node(s) didn't match pod anti-affinity rules"),
            Reason::KeptAway => one("node(s) didn't satisfy existing pods anti-affinity rules"),
        }
    }

    /// Whether no other pod's leaving could help.
    pub fn is_final(self) -> bool {
        match self {
            Reason::PortTaken(_) | Reason::TooSkewed(_) | Reason::ForbiddenPod(_) | Reason::KeptAway => false,
            Reason::Lacks(lacks) => lacks.for_good,
            _ => true,
        }
    }
}

/// What is lacking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// No pod more.
    pub pods: bool,
    /// Too little cpu is free.
    pub cpu: bool,
    /// Too little memory.
    pub memory: bool,
    /// Too little ephemeral storage.
    pub storage: bool,
    /// By index in the pod's list; what would be past the 63rd shares its bit.
    pub extended: u64,
    /// The pod asks for more than the whole node has: nobody's leaving would help.
    pub for_good: bool,
}

impl Lacks {
    /// The extended resources that are lacking.
    pub fn extended_of(self, shape: &Shape) -> impl Iterator<Item = &(std::sync::Arc<str>, i64)> {
        let lacks = move |i: usize| self.extended & (1 << i.min(63)) != 0;
        shape.requests.extended.iter().enumerate().filter(move |(i, _)| lacks(*i)).map(|(_, r)| r)
    }

    /// Upstream's words, one for each thing.
    pub fn words(self, pod: &Pod) -> Vec<String> {
        let fixed = [
            (self.pods, "Too many pods"),
            (self.cpu, "Insufficient cpu"),
            (self.memory, "Insufficient memory"),
            (self.storage, "Insufficient ephemeral-storage"),
        ];
        let mut words: Vec<String> =
            fixed.iter().filter(|(lacking, _)| *lacking).map(|(_, text)| (*text).into()).collect();
        words.extend(self.extended_of(&pod.shape).map(|(name, _)| format!("Insufficient {name}")));
        words
    }
}

//! The verdict on every node, for `coracle why`: which filter refused and by how much, or what each score gave.

use serde::Serialize;

use crate::class::Classes;
use crate::decide::{Decision, Outcome};
use crate::filter::{Ask, FILTERS, detail};
use crate::neighbours::Neighbours;
use crate::pod::Pod;
use crate::profile::Profile;
use crate::score::FULL;
use crate::snapshot::{Slot, Snapshot};
use crate::view::NodeView;

/// In a cluster of up to so many nodes, the verdict on a placed pod names them all.
const ALL_ROWS: usize = 32;
/// In a larger one it names the winner and the two next best: a verdict is made for every placement, and a long one costs
/// more than the decision.
const ROWS_PLACED: usize = 3;
/// How many nodes the verdict on a refused pod names at most; the sentence counts all.
const ROWS_REFUSED: usize = 200;

/// A decision, as people see it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Which pod, distinguished from earlier pods of its name.
    pub uid: String,
    /// When.
    pub time: String,
    /// Which attempt of this scheduler to place the pod.
    pub attempt: u32,
    /// The chosen node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The sentence that the pod's condition carries, where no node was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The profile that weighed the scores.
    pub profile: String,
    /// What broke ties.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: usize,
    /// The nodes, the best first, then those refused, by name.
    pub rows: Vec<Row>,
}

/// One node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its name.
    pub node: String,
    /// The filter that refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<&'static str>,
    /// Why, in upstream's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why exactly: `needs 600m cpu, 350m free`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The weighted mean of the scores, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Each score that its profile weighs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<Points>,
}

/// One score of one node.
#[derive(Clone, Debug, Serialize)]
pub struct Points {
    /// Which score.
    pub name: &'static str,
    /// 0 to 100.
    pub score: f64,
    /// What it counts for.
    pub weight: i64,
}

/// What a pod's verdict says beyond its rows.
pub struct About<'a> {
    /// When.
    pub time: jiff::Timestamp,
    /// Which attempt.
    pub attempt: u32,
    /// What broke ties.
    pub seed: u64,
    /// The sentence, where no node was found.
    pub message: Option<&'a str>,
}

/// Explains the placing of a pod, before it takes its room.
pub fn placed(
    pod: &Pod,
    node: Slot,
    classes: &mut Classes,
    snapshot: &Snapshot,
    about: &About<'_>,
) -> Verdict {
    let large = snapshot.len() > ALL_ROWS;
    let best = if large { classes.best(pod, snapshot, ROWS_PLACED) } else { Vec::new() };
    let decision = if best.is_empty() {
        classes.explain(pod, snapshot)
    } else {
        let verdicts = best.into_iter().map(|(slot, rank)| (slot, Outcome::Fits(rank))).collect();
        Decision { node: Some(node), verdicts, early: None }
    };
    verdict(pod, &decision, classes.profile(), snapshot, about, if large { ROWS_PLACED } else { ALL_ROWS })
}

/// Explains why no node was found.
pub fn refused(
    pod: &Pod,
    decision: &Decision,
    profile: &Profile,
    snapshot: &Snapshot,
    about: &About<'_>,
) -> Verdict {
    verdict(pod, decision, profile, snapshot, about, ROWS_REFUSED)
}

fn verdict(
    pod: &Pod,
    decision: &Decision,
    profile: &Profile,
    snapshot: &Snapshot,
    about: &About<'_>,
    most: usize,
) -> Verdict {
    let neighbours = Neighbours::of(pod, snapshot);
    let ask = Ask { pod, neighbours: &neighbours };
    let mut order: Vec<&(Slot, Outcome)> = decision.verdicts.iter().collect();
    let name = |slot: Slot| &snapshot.nodes()[slot].name;
    order.sort_by(|(a, x), (b, y)| match (x, y) {
        (Outcome::Fits(x), Outcome::Fits(y)) => y.cmp(x),
        (Outcome::Fits(_), _) => std::cmp::Ordering::Less,
        (_, Outcome::Fits(_)) => std::cmp::Ordering::Greater,
        _ => name(*a).cmp(name(*b)),
    });
    let rows = order.into_iter().take(most).filter_map(|(slot, outcome)| {
        let node = &snapshot.nodes()[*slot];
        Some(row(&ask, NodeView { node, facts: node.facts.as_ref()? }, *outcome, profile))
    });
    Verdict {
        uid: pod.uid.to_string(),
        time: about.time.to_string(),
        attempt: about.attempt,
        node: decision.node.map(|slot| name(slot).to_string()),
        message: about.message.map(String::from),
        profile: profile.name.clone(),
        seed: about.seed,
        nodes: snapshot.len(),
        rows: rows.collect(),
    }
}

fn row(ask: &Ask<'_>, view: NodeView<'_>, outcome: Outcome, profile: &Profile) -> Row {
    let node = view.node.name.to_string();
    match outcome {
        Outcome::Refused(index, reason) => Row {
            node,
            filter: FILTERS.get(index).map(|(name, _)| *name),
            reason: Some(reason.words(ask.pod).join(", ")),
            detail: Some(detail(reason, ask, view)),
            score: None,
            scores: Vec::new(),
        },
        Outcome::Fits(rank) => {
            let weights: i64 = profile.scores.iter().map(|(_, _, weight)| weight).sum();
            let scores = profile.scores.iter().map(|(name, score, weight)| Points {
                name,
                score: points(score.score(ask, view)),
                weight: *weight,
            });
            Row {
                node,
                filter: None,
                reason: None,
                detail: None,
                score: Some(points(rank.total / weights.max(1))),
                scores: scores.collect(),
            }
        }
    }
}

/// Thousandths as 0 to 100 with one decimal: what a person compares.
fn points(thousandths: i64) -> f64 {
    let tenths = i32::try_from(thousandths * 1000 / FULL).unwrap_or(0);
    f64::from(tenths) / 10.0
}

//! `coracle why`: the scheduler's verdict on every node, for one pod.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::print::say;
use crate::print::table::wrapped;
use crate::print::table::{Table, WIDTH};
use crate::print::time::age;
use crate::server::connection::{Connection, Target};

/// Why a pod runs where it runs, or nowhere: the verdict on every node.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:
  coracle why pod/web-0")]
pub struct Why {
    /// pod/NAME
    #[arg(value_name = "POD")]
    what: String,
    /// The API server
    #[command(flatten)]
    pub target: Target,
}

/// Runs the command.
///
/// # Errors
/// There is no such pod, or the server keeps no verdicts.
pub async fn run(args: Why, connection: &Connection) -> Result<()> {
    let name = match args.what.split_once('/') {
        Some(("pod" | "pods" | "po", name)) => name,
        Some((kind, _)) => bail!("the scheduler decides on pods, not on {kind}; name a pod, as pod/NAME"),
        None => &args.what,
    };
    say!("{}", text(connection, &connection.namespace, name).await?.trim_end());
    Ok(())
}

/// What the command prints.
///
/// # Errors
/// As [`run`].
pub async fn text(connection: &Connection, namespace: &str, name: &str) -> Result<String> {
    let pod = connection.get(&format!("/api/v1/namespaces/{namespace}/pods/{name}")).await?;
    let verdict = connection.find(&format!("/coracle/v1/verdicts/{namespace}/{name}")).await?;
    let same = |v: &&Value| v["uid"] == pod["metadata"]["uid"];
    Ok(match verdict.as_ref().filter(same) {
        Some(verdict) => show(&pod, verdict, jiff::Timestamp::now()),
        None => unknown(&pod),
    })
}

/// Without a verdict, what the pod itself tells.
fn unknown(pod: &Value) -> String {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let gates = pod["spec"]["schedulingGates"].as_array().map_or(0, Vec::len);
    let scheduler = pod["spec"]["schedulerName"].as_str().unwrap_or("default-scheduler");
    match pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
        Some(node) => format!(
            "pod/{name} is on {node}. Nobody remembers why: it was bound before the control plane started, by hand, or by \
             another scheduler.\n"
        ),
        None if gates > 0 => {
            format!("pod/{name} waits: {gates} of its spec.schedulingGates are not removed yet.\n")
        }
        None if scheduler != "default-scheduler" => {
            format!("pod/{name} waits for the scheduler {scheduler:?}, which keeps no verdicts here.\n")
        }
        None => format!(
            "pod/{name} has no node, and no scheduler has looked at it yet; `coracle status` shows whether one runs.\n"
        ),
    }
}

/// The verdict as a table.
fn show(pod: &Value, verdict: &Value, now: jiff::Timestamp) -> String {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let word = |field: &str| verdict[field].as_str().unwrap_or_default();
    let rows: Vec<&Value> = verdict["rows"].as_array().into_iter().flatten().collect();
    let nodes = verdict["nodes"].as_u64().unwrap_or(0);
    let attempt = verdict["attempt"].as_u64().unwrap_or(1);
    let mut out = String::new();
    match verdict["node"].as_str() {
        Some(node) => {
            out.push_str(&format!(
                "pod/{name} was given to {node} {} ago, at attempt {attempt}.\n",
                age(&verdict["time"], now)
            ));
        }
        None => {
            out.push_str(&format!(
                "pod/{name} has no node; attempt {attempt}, {} ago:\n",
                age(&verdict["time"], now)
            ));
            for line in wrapped(word("message"), WIDTH - 2) {
                out.push_str(&format!("  {line}\n"));
            }
        }
    }
    if rows.is_empty() {
        return out;
    }
    let scored: Vec<&&Value> = rows.iter().filter(|r| r["score"].is_number()).collect();
    let columns = columns(&scored);
    let mut head = vec!["NODE".to_string(), "VERDICT".into()];
    head.extend(columns.iter().map(|c| format!("{}x{}", heading(&c.0), c.1)));
    let mut table = Table { head, rows: Vec::new() };
    let mut refused = Table::new(&["NODE", "VERDICT", "WHY"]);
    for row in &rows {
        let node = row["node"].as_str().unwrap_or_default().to_string();
        let Some(score) = row["score"].as_f64() else {
            refused.row(vec![
                node,
                format!("no: {}", row["filter"].as_str().unwrap_or("?")),
                row["detail"].as_str().unwrap_or_default().into(),
            ]);
            continue;
        };
        let chosen = if verdict["node"] == row["node"] { "chosen" } else { "fits" };
        let mut cells = vec![node, format!("{chosen}, {score:.1}")];
        for (score_name, _) in &columns {
            let mut all = row["scores"].as_array().into_iter().flatten();
            let points = all.find(|s| s["name"] == **score_name).and_then(|s| s["score"].as_f64());
            cells.push(points.map_or_else(String::new, |p| format!("{p:.1}")));
        }
        table.row(cells);
    }
    for table in [table, refused].iter().filter(|t| !t.rows.is_empty()) {
        out.push('\n');
        for line in table.lines(WIDTH) {
            out.push_str(&line);
            out.push('\n');
        }
    }
    let shown = u64::try_from(rows.len()).unwrap_or(nodes);
    if shown < nodes {
        out.push_str(&format!("... and {} more nodes\n", nodes - shown));
    }
    if !scored.is_empty() {
        out.push_str(&format!(
            "\nScores are 0 to 100, weighted by profile {}; between equals the seed {} decides.\n",
            word("profile"),
            verdict["seed"]
        ));
    }
    out
}

/// The scores that tell the nodes apart, or that give something; those that are 0 everywhere say nothing.
fn columns(scored: &[&&Value]) -> Vec<(String, i64)> {
    let mut columns: Vec<(String, i64)> = Vec::new();
    for row in scored {
        for score in row["scores"].as_array().into_iter().flatten() {
            let name = score["name"].as_str().unwrap_or_default();
            let tells = score["score"].as_f64().is_some_and(|s| s > 0.0);
            if tells && !columns.iter().any(|(n, _)| n == name) {
                columns.push((name.into(), score["weight"].as_i64().unwrap_or(1)));
            }
        }
    }
    columns
}

/// Score names are long; what they are about is not.
fn heading(name: &str) -> &str {
    match name {
        "TaintToleration" => "TAINTS ",
        "NodeAffinity" => "AFFINITY ",
        "PodTopologySpread" => "DOMAINS ",
        "InterPodAffinity" => "COMPANY ",
        "ImageLocality" => "IMAGES ",
        "Packed" => "PACKED ",
        "Free" => "FREE ",
        "Balanced" => "BALANCED ",
        "FewAlike" => "FEW ALIKE ",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({ "metadata": { "name": "p", "uid": "u" }, "spec": {} })
    }

    #[test]
    fn refused_by_every_node() {
        let verdict = json!({
            "uid": "u", "time": "2026-01-01T00:00:00Z", "attempt": 2, "message": "0/2 nodes are available: 2 Insufficient cpu.",
            "profile": "bin-pack", "seed": 0, "nodes": 2,
            "rows": [
                { "node": "a", "filter": "NodeResourcesFit", "reason": "Insufficient cpu", "detail": "needs 600m cpu, 350m free" },
                { "node": "b", "filter": "TaintToleration", "reason": "node(s) had untolerated taint(s)", "detail": "taint k:NoSchedule is not tolerated" },
            ],
        });
        let now = "2026-01-01T00:00:09Z".parse().expect("a time");
        let expected = "\
pod/p has no node; attempt 2, 9s ago:
  0/2 nodes are available: 2 Insufficient cpu.

NODE   VERDICT                WHY
a      no: NodeResourcesFit   needs 600m cpu, 350m free
b      no: TaintToleration    taint k:NoSchedule is not tolerated
";
        assert_eq!(show(&pod(), &verdict, now), expected);
    }

    #[test]
    fn chosen_among_others() {
        let scores = |packed: f64| json!([{ "name": "Packed", "score": packed, "weight": 2 }, { "name": "NodeAffinity", "score": 0.0, "weight": 4 }]);
        let verdict = json!({
            "uid": "u", "time": "2026-01-01T00:00:00Z", "attempt": 1, "node": "a", "profile": "bin-pack", "seed": 7, "nodes": 3,
            "rows": [
                { "node": "a", "score": 60.5, "scores": scores(60.5) },
                { "node": "b", "score": 20.0, "scores": scores(20.0) },
                { "node": "c", "filter": "NodeUnschedulable", "detail": "cordoned" },
            ],
        });
        let text = show(&pod(), &verdict, "2026-01-01T00:00:09Z".parse().expect("a time"));
        let expected = "\
pod/p was given to a 9s ago, at attempt 1.

NODE   VERDICT        PACKED x2
a      chosen, 60.5   60.5
b      fits, 20.0     20.0

NODE   VERDICT                 WHY
c      no: NodeUnschedulable   cordoned

Scores are 0 to 100, weighted by profile bin-pack; between equals the seed 7 decides.
";
        assert_eq!(text, expected);
    }

    #[test]
    fn without_a_verdict() {
        let bound = json!({ "metadata": { "name": "p" }, "spec": { "nodeName": "a" } });
        let gated = json!({ "metadata": { "name": "p" }, "spec": { "schedulingGates": [{ "name": "x" }] } });
        for (pod, part) in
            [(bound, "is on a"), (gated, "schedulingGates"), (pod(), "no scheduler has looked")]
        {
            assert!(unknown(&pod).contains(part), "{part}");
        }
    }
}

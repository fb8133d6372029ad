//! Plays recorded answers of a real Kubernetes against this API server, where the recording lies beside the checkout.
//!
//! `reference/known-differences.txt` names the cases that differ, each with its reason. The list only shrinks: a case outside
//! it that differs fails the test, and so does a case on it that agrees, unless its reason says that this varies.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use common::{TestCluster, docker, kubectl, need, repository};

/// The recording, or `None` (the test is then skipped: a clone without it has the unit tests of the same rules).
fn reference() -> Option<PathBuf> {
    let folder = repository().parent()?.join("shared").join("reference");
    let python = Command::new("python3").arg("--version").output().is_ok();
    need("reference", (folder.join("check.py").exists() && python).then_some(folder))
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(String::from)
        .collect()
}

/// How the reason of a case begins that agrees now and then, by a race that is not ours to end.
const VARIES: &str = "varies:";

/// Known differences: name -> reason.
fn known() -> BTreeMap<String, String> {
    let file = repository().join("cli/tests/reference/known-differences.txt");
    lines(&file)
        .into_iter()
        .map(|line| {
            let (name, why) =
                line.split_once(char::is_whitespace).unwrap_or_else(|| panic!("no reason: {line}"));
            (name.to_owned(), why.trim().to_owned())
        })
        .collect()
}

/// The name of a case and what it asks to be running. Read as text: some cases hold what is JSON to Python only.
fn head(line: &str) -> (String, Vec<String>) {
    let front = line.split("\"steps\"").next().unwrap_or_default();
    let after = |key: &str| {
        front.split_once(&format!("\"{key}\"")).map(|(_, rest)| rest.trim_start_matches([':', ' ']))
    };
    let quoted = |text: &str| text.split('"').nth(1).unwrap_or_default().to_owned();
    let name = after("name").map(quoted).unwrap_or_default();
    let needs = after("needs").and_then(|rest| rest.split(']').next()).unwrap_or("\"api\"");
    (name, needs.split('"').skip(1).step_by(2).map(String::from).collect())
}

/// Copies the cases that `wanted` picks into a folder for the player.
fn pick(reference: &Path, to: &Path, wanted: impl Fn(&str, &[String]) -> bool) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(reference.join("cases")).expect("cases") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("cases are text");
        let mut picked = String::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (name, needs) = head(line);
            if wanted(&name, &needs) {
                picked += line;
                picked.push('\n');
                count += 1;
            }
        }
        if !picked.is_empty() {
            std::fs::write(to.join(path.file_name().expect("a file name")), picked).expect("written");
        }
    }
    count
}

/// One recording at a time: the players wait for things to come true, and would wait in vain on a crowded machine.
static TURN: Mutex<()> = Mutex::new(());

/// Plays the picked cases against a cluster of these parts; fails where one differs that is not known to.
fn play(up: &[&str], jobs: &str, wanted: impl Fn(&str, &[String]) -> bool) {
    let (Some(reference), Some(kubectl)) = (reference(), kubectl()) else { return };
    // A failed test before this one is no reason to fail, too.
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let first: BTreeSet<String> = lines(&reference.join("first.txt")).into_iter().collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let count = pick(&reference, folder.path(), |name, needs| first.contains(name) && wanted(name, needs));
    assert!(count > 0, "no case was picked");
    // As it was recorded: upstream's default, which is not ours.
    let cluster = TestCluster::up(&[up, &["--anonymous-auth=true"]].concat());
    let known = known();
    let results = run_player(&reference, &kubectl, &cluster, folder.path(), jobs);
    assert_eq!(results.len(), count, "every case has an outcome");
    // Not as the list says: once more, one by one. What differs only on a busy machine is no difference.
    let again: BTreeSet<&String> = results
        .iter()
        .filter(|(name, wrong)| wrong.is_some() != known.contains_key(*name))
        .map(|(name, _)| name)
        .collect();
    println!("{count} cases played, {} once more: {again:?}", again.len());
    if again.is_empty() {
        return;
    }
    let second = tempfile::tempdir().expect("a temporary folder");
    pick(&reference, second.path(), |name, _| again.contains(&name.to_owned()));
    let (mut lost, mut won) = (Vec::new(), Vec::new());
    for (name, wrong) in run_player(&reference, &kubectl, &cluster, second.path(), "1") {
        match (wrong, known.contains_key(&name)) {
            (Some(wrong), false) => lost.push(format!("{name}\n    {wrong}")),
            (None, true) if !known[&name].starts_with(VARIES) => won.push(name),
            _ => {}
        }
    }
    assert!(lost.is_empty(), "{} cases differ that are not known to:\n{}", lost.len(), lost.join("\n"));
    assert!(won.is_empty(), "these agree now: take them off the list of known differences: {won:?}");
}

#[test]
fn the_list_names_cases_that_there_are_and_all_are_played() {
    let Some(reference) = reference() else { return };
    let first: BTreeSet<String> = lines(&reference.join("first.txt")).into_iter().collect();
    let unheard: Vec<String> = known().into_keys().filter(|name| !first.contains(name)).collect();
    assert!(unheard.is_empty(), "known differences of no case: {unheard:?}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unplayed = pick(&reference, folder.path(), |name, needs| {
        let played = PARTS.iter().any(|parts| exactly(needs, parts)) || needs.iter().any(|n| n == "agents");
        first.contains(name) && !played
    });
    assert_eq!(unplayed, 0, "cases that need parts which no test starts together");
}

/// Runs check.py over a folder of cases: name -> differences, `None` where the case agrees.
fn run_player(
    reference: &Path,
    kubectl: &Path,
    cluster: &TestCluster,
    cases: &Path,
    jobs: &str,
) -> BTreeMap<String, Option<String>> {
    let out = Command::new("python3")
        .arg(reference.join("check.py"))
        .args(["--json", "--jobs", jobs, "--kubectl"])
        .arg(kubectl)
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .arg("--cases")
        .arg(cases)
        .output()
        .expect("python3 runs");
    let lines = String::from_utf8_lossy(&out.stdout).into_owned();
    let results: BTreeMap<String, Option<String>> = lines
        .lines()
        .map(|line| {
            let result: serde_json::Value = serde_json::from_str(line).expect("check.py prints JSON lines");
            let wrong = (result["agrees"] != true).then(|| result["differences"].to_string());
            (result["name"].as_str().unwrap_or_default().to_owned(), wrong)
        })
        .collect();
    assert!(!results.is_empty(), "check.py: {}", common::text(&out));
    results
}

/// What the cases that need no agent ask to be running.
const PARTS: [&[&str]; 3] = [&["api"], &["api", "controllers"], &["api", "scheduler"]];

fn exactly(needs: &[String], parts: &[&str]) -> bool {
    needs.len() == parts.len() && parts.iter().all(|part| needs.iter().any(|need| need == part))
}

#[test]
fn an_api_server_alone_answers_as_upstream_does() {
    play(&["--parts", "apiserver"], "4", |_, needs| exactly(needs, PARTS[0]));
}

#[test]
fn controllers_act_as_upstream_s_do() {
    play(&["--parts", "apiserver,controllers"], "4", |_, needs| exactly(needs, PARTS[1]));
}

#[test]
fn the_scheduler_decides_as_upstream_s_does() {
    play(&["--parts", "apiserver,scheduler"], "1", |_, needs| exactly(needs, PARTS[2]));
}

/// The agent's cases take many minutes as a whole: a sample of them, another one with another `CORACLE_SEED`.
#[test]
fn an_agent_runs_pods_as_a_kubelet_does() {
    if docker().is_none() {
        return;
    }
    let Some(reference) = reference() else { return };
    let made = Command::new(reference.join("images.sh")).output().expect("images.sh runs");
    assert!(made.status.success(), "{}", common::text(&made));
    let seed = std::env::var("CORACLE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    println!("CORACLE_SEED={seed}");
    play(&["--nodes", "1", "--node-size", "8cpu,16Gi"], "4", |name, needs| {
        needs.iter().any(|need| need == "agents") && hash(name, seed).is_multiple_of(8)
    });
}

/// FNV-1a over the seed and the name: the same sample for the same seed, everywhere.
fn hash(name: &str, seed: u64) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

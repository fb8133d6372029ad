//! A cluster of its own for each test, and what it takes to be sure that nothing of it stays.
#![allow(dead_code)] // each test binary uses its part of this

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Whether CI says that `what` must be there.
pub fn required(what: &str) -> bool {
    std::env::var("CORACLE_REQUIRE").is_ok_and(|list| list.split(',').any(|name| name == what))
}

/// `None` skips the test, and says so; where the tool is required, its absence is a failure.
pub fn need<T>(what: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        assert!(!required(what), "{what} is required (CORACLE_REQUIRE) and was not found");
        eprintln!("SKIPPED: no {what} here");
    }
    found
}

/// A Docker Engine that answers.
pub fn docker() -> Option<()> {
    let answers = Command::new("docker").args(["info"]).output().is_ok_and(|out| out.status.success());
    need("docker", answers.then_some(()))
}

/// Every kubectl on the PATH or beside it, by minor version, oldest first: dispatchers are passed over.
pub fn kubectls() -> Vec<(u32, PathBuf)> {
    let mut found = Vec::new();
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        let candidate = folder.join("kubectl");
        let Ok(real) = candidate.canonicalize() else { continue };
        let beside = real.parent().map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten());
        for entry in beside.into_iter().flatten() {
            let name = entry.file_name();
            let minor = name.to_str().and_then(|n| n.strip_prefix("kubectl.1.")).and_then(|m| m.parse().ok());
            if let Some(minor) = minor {
                found.push((minor, entry.path()));
            }
        }
        if let Some(minor) = minor_version(&candidate) {
            found.push((minor, candidate));
        }
    }
    found.sort();
    found.dedup_by_key(|(minor, _)| *minor);
    found
}

fn minor_version(kubectl: &Path) -> Option<u32> {
    let out = Command::new(kubectl).args(["version", "--client", "-o", "json"]).output().ok()?;
    let version: serde_json::Value = serde_json::from_slice(&out.stdout).ok()?;
    version["clientVersion"]["minor"].as_str()?.trim_end_matches('+').parse().ok()
}

/// The kubectl that the reference was recorded with, or the nearest that speaks our dialect.
pub fn kubectl() -> Option<PathBuf> {
    let all: Vec<(u32, PathBuf)> = kubectls().into_iter().filter(|(minor, _)| *minor >= 29).collect();
    let best = all.iter().min_by_key(|(minor, _)| minor.abs_diff(33)).map(|(_, path)| path.clone());
    need("kubectl", best)
}

/// A running cluster with a name, a folder and a kubeconfig of its own. Dropping it takes it down and checks.
pub struct TestCluster {
    pub name: String,
    pub home: tempfile::TempDir,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl TestCluster {
    /// `coracle up` with these arguments.
    pub fn up(arguments: &[&str]) -> TestCluster {
        let name = format!("test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let home = tempfile::tempdir().expect("a temporary folder");
        let cluster = TestCluster { name, home };
        cluster.up_again(arguments);
        cluster
    }

    /// `coracle up` once more: after a crash, say.
    pub fn up_again(&self, arguments: &[&str]) {
        let out = self.coracle(&[&["up", "--no-context"], arguments].concat());
        let log = std::fs::read_to_string(self.dir().join("log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(30).collect();
        assert!(out.status.success(), "coracle up: {}\nlog, newest first:\n{}", text(&out), tail.join("\n"));
    }

    /// The cluster's folder.
    pub fn dir(&self) -> PathBuf {
        self.home.path().join(&self.name)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir().join("kubeconfig")
    }

    /// Runs `coracle` against this cluster.
    pub fn coracle(&self, arguments: &[&str]) -> Output {
        Command::new(executable())
            .env("CORACLE_HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("user-kubeconfig"))
            .args(["--name", &self.name])
            .args(arguments)
            .current_dir(repository())
            .output()
            .expect("coracle runs")
    }

    /// Runs `kubectl` against this cluster, must succeed, and returns what it printed.
    pub fn kubectl(&self, kubectl: &Path, arguments: &[&str]) -> String {
        let out = self.try_kubectl(kubectl, arguments);
        assert!(out.status.success(), "{} {}: {}", kubectl.display(), arguments.join(" "), text(&out));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    pub fn try_kubectl(&self, kubectl: &Path, arguments: &[&str]) -> Output {
        self.kubectl_command(kubectl, arguments).output().expect("kubectl runs")
    }

    /// `kubectl` against this cluster, to be run.
    pub fn kubectl_command(&self, kubectl: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(kubectl);
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .arg("--cache-dir")
            .arg(self.home.path().join("cache"))
            .args(arguments)
            .current_dir(repository());
        command
    }

    /// The process id of the running cluster.
    pub fn pid(&self) -> Option<u32> {
        let out = text(&self.coracle(&["status"]));
        let line = out.lines().find(|line| line.starts_with(&self.name))?;
        line.split_whitespace().nth(4)?.parse().ok()
    }

    /// Ids and names of this cluster's containers, running ones only.
    pub fn containers(&self) -> Vec<String> {
        let filter = format!("label=coracle.dev/cluster={}", self.name);
        let out = Command::new("docker")
            .args(["ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}", "--filter", &filter])
            .output()
            .expect("docker runs");
        let mut lines: Vec<String> = String::from_utf8_lossy(&out.stdout).lines().map(String::from).collect();
        lines.sort();
        lines
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        let out = self.coracle(&["down", "--purge"]);
        if !std::thread::panicking() {
            assert!(out.status.success(), "coracle down: {}", text(&out));
        }
    }
}

/// Another executable than the one that was built with the tests, for those who cannot read where that lies.
const EXECUTABLE: &str = "CORACLE_EXECUTABLE";

/// The program.
pub fn executable() -> PathBuf {
    std::env::var_os(EXECUTABLE).map_or_else(|| env!("CARGO_BIN_EXE_coracle").into(), PathBuf::from)
}

/// A component's process, which ends with the test.
pub struct Component(Child);

impl Component {
    /// Starts `coracle` with some arguments.
    pub fn start(arguments: &[&str]) -> Component {
        let child = Command::new(executable())
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("coracle runs");
        Component(child)
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The root of the repository; where the tests run away from it, where they run.
pub fn repository() -> PathBuf {
    if std::env::var_os(EXECUTABLE).is_some() {
        return std::env::current_dir().expect("a folder");
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Both streams of a finished command.
pub fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Asks again, soon, until `holds` gives something; fails after `within` with what was asked for last.
pub fn eventually<T>(what: &str, within: Duration, mut holds: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match holds() {
            Ok(value) => return value,
            Err(why) if Instant::now() > deadline => panic!("{what}: not within {within:?}: {why}"),
            // Another process is asked: there is nothing to be woken by.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

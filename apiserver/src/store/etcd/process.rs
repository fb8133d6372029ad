//! An etcd of its own for a test or a bench: Debian's `etcd-server`, with its data in a temporary folder.
#![allow(dead_code)] // each of those who include it uses its part

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// A running etcd, which ends with this.
pub struct EtcdProcess {
    child: Child,
    _data: tempfile::TempDir,
    /// Where it is asked.
    pub url: String,
}

/// Whether there is an etcd on the PATH.
pub fn is_installed() -> bool {
    Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// `None` skips a test, and says so; where etcd is required (`CORACLE_REQUIRE`), its absence is a failure.
pub fn started() -> Option<EtcdProcess> {
    started_with("http", &[])
}

/// The same with more arguments, asked by `http` or `https`.
pub fn started_with(scheme: &str, arguments: &[&str]) -> Option<EtcdProcess> {
    if !is_installed() {
        let required =
            std::env::var("CORACLE_REQUIRE").is_ok_and(|list| list.split(',').any(|name| name == "etcd"));
        assert!(!required, "etcd is required (CORACLE_REQUIRE) and was not found");
        eprintln!("SKIPPED: no etcd here");
        return None;
    }
    let data = tempfile::tempdir().expect("a temporary folder");
    let [client, peer] = [scheme, "http"].map(|scheme| format!("{scheme}://127.0.0.1:{}", free_port()));
    let child = Command::new("etcd")
        .args(["--data-dir", &data.path().to_string_lossy(), "--logger", "zap", "--log-level", "error"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd runs");
    Some(EtcdProcess { child, _data: data, url: client })
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl EtcdProcess {
    /// Sends it a signal: `STOP` leaves its connections open and unanswered, `CONT` lets it go on.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

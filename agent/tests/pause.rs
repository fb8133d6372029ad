//! The program of a sandbox. In a test binary of its own, because it collects every child of its process.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process, set_child_subreaper};

#[test]
fn orphans_are_collected_until_the_sandbox_is_asked_to_end() {
    // As process 1 of a process namespace: orphans become children of this process.
    set_child_subreaper(Some(getpid())).unwrap();
    let shell =
        Command::new("sh").args(["-c", "for n in 1 2 3; do sleep 0.2 >/dev/null & echo $!; done"]).output();
    let orphans = String::from_utf8(shell.unwrap().stdout).unwrap();
    let orphans: Vec<&str> = orphans.split_whitespace().collect();
    assert_eq!(orphans.len(), 3);
    let left = || orphans.iter().filter(|pid| Path::new("/proc").join(pid).exists()).count();
    let sandbox = std::thread::spawn(coracle_agent::pause::main);
    let deadline = Instant::now() + Duration::from_secs(30);
    while left() > 0 {
        assert!(Instant::now() < deadline, "{} of {orphans:?} were not collected", left());
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(getpid(), Signal::TERM).unwrap();
    sandbox.join().unwrap().unwrap();
}

//! Ending a process that was started in a container, with everything that it started.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How often the processes are looked at again: one that starts others may do so between a look and its end.
const ROUNDS: usize = 32;

/// A process, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
}

/// Kills a process of a container and everything that it started: its descendants, and what is left of its session
/// where a parent has ended before its children. An engine gives each command a session of its own. Answers how many
/// were killed; none if `pid` does not belong to the container, or no longer.
///
/// # Errors
/// A process may not be killed by this one.
pub fn tree(pid: i32, container: &str) -> io::Result<usize> {
    let mut killed = 0;
    let mut refused = None;
    for _ in 0..ROUNDS {
        let mut more = 0;
        for victim in tree_of(pid, &processes(container)) {
            match kill(victim, container) {
                Ok(true) => more += 1,
                Ok(false) => {}
                Err(error) => refused = Some(error),
            }
        }
        killed += more;
        if more == 0 {
            break;
        }
    }
    refused.map_or(Ok(killed), Err)
}

/// A process, its session and its descendants, among these.
fn tree_of(root: i32, processes: &[Process]) -> BTreeSet<i32> {
    let own = processes.iter().filter(|one| one.pid == root || one.session == root);
    let mut tree: BTreeSet<i32> = own.map(|one| one.pid).collect();
    loop {
        let before = tree.len();
        tree.extend(
            processes.iter().filter(|one| tree.contains(&one.parent)).map(|one| one.pid).collect::<Vec<_>>(),
        );
        if tree.len() == before {
            return tree;
        }
    }
}

/// The living processes of a container.
fn processes(container: &str) -> Vec<Process> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| belongs(*pid, container)).filter_map(read).collect()
}

/// Whether a process is in the control group of a container, whose name is, or ends in, the container's id.
pub fn belongs(pid: impl Display, container: &str) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    !container.is_empty() && groups.contains(container)
}

fn read(pid: i32) -> Option<Process> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// A line of `/proc/PID/stat`: `pid (name) state parent group session ...`. The name may hold anything, brackets too.
/// `None` for one that has ended and waits for its parent to ask.
fn parse(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let pid = head.split_whitespace().next()?.parse().ok()?;
    let mut fields = tail.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(Process { pid, parent, session })
}

/// Kills one process, if it is the container's. Held by a descriptor, its number cannot have become another's between
/// the look and the kill.
fn kill(pid: i32, container: &str) -> io::Result<bool> {
    let Some(number) = Pid::from_raw(pid) else { return Ok(false) };
    let held = match pidfd_open(number, PidfdFlags::empty()) {
        Ok(held) => held,
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if !belongs(pid, container) {
        return Ok(false);
    }
    match pidfd_send_signal(held, Signal::KILL) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_read() {
        let cases = [
            ("7 (sh) S 1 7 7 0 -1", Some(Process { pid: 7, parent: 1, session: 7 })),
            ("8 (a) b) (c) R 7 8 7 0", Some(Process { pid: 8, parent: 7, session: 7 })),
            ("9 (sleep) Z 7 7 7 0", None),
            ("", None),
            ("7 (sh", None),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line), expected, "line: {line}");
        }
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(read(own).map(|one| one.pid), Some(own));
    }

    #[test]
    fn a_tree_is_what_a_process_started() {
        let process = |pid, parent, session| Process { pid, parent, session };
        let all = [
            process(10, 1, 10),
            process(11, 10, 10),
            // A session of its own, by setsid.
            process(12, 11, 12),
            process(13, 12, 12),
            // Its parent has ended.
            process(14, 1, 10),
            process(20, 1, 20),
        ];
        assert_eq!(tree_of(10, &all), BTreeSet::from([10, 11, 12, 13, 14]));
        assert_eq!(tree_of(20, &all), BTreeSet::from([20]));
        assert!(tree_of(30, &all).is_empty());
    }

    #[test]
    fn what_belongs_to_no_container_is_left_alone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(tree(pid, "no container is called so").unwrap(), 0);
        assert_eq!(tree(pid, "").unwrap(), 0);
        assert_eq!(child.try_wait().unwrap(), None, "it still runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

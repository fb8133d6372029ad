//! `coracle trace`: the tree of causes from somebody's own act to the start of a container.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use super::changes::{Change, Key, fetch};
use crate::print::say;
use crate::print::table::{WIDTH, fit};
use crate::report::human;
use crate::server::connection::{Connection, Target};
use crate::server::kinds::{Catalogue, one};

/// How many children of one kind are shown one by one.
const EACH: usize = 5;

/// What led to what: from somebody's own act down to the containers, with who did it and how long it took.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle trace deployment/web     everything that applying it set off
  coracle trace pod/web-0          what led to this pod, and what became of it")]
pub struct Trace {
    /// KIND/NAME, or KIND NAME
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<String>,
    /// Show every change, also the many alike
    #[arg(long)]
    all: bool,
    /// The API server
    #[command(flatten)]
    pub target: Target,
}

/// Runs the command.
///
/// # Errors
/// The server keeps no log, or knows no change of the object.
pub async fn run(args: Trace, connection: &Connection) -> Result<()> {
    let catalogue = Catalogue::fetch(connection).await?;
    let (kind, name) = one(&catalogue, &args.what)?;
    let namespace = if kind.namespaced { connection.namespace.as_str() } else { "" };
    say!("{}", text(connection, namespace, &kind.kind, &name, args.all).await?.trim_end());
    Ok(())
}

/// What the command prints.
///
/// # Errors
/// As [`run`].
pub async fn text(
    connection: &Connection,
    namespace: &str,
    kind: &str,
    name: &str,
    all: bool,
) -> Result<String> {
    let log = fetch(connection, "").await?;
    let is_meant = |key: &Key| key.kind == kind && key.name == name && key.namespace == namespace;
    let Some(latest) = log.items.iter().rfind(|c| is_meant(&c.key)) else {
        bail!("no change of {}/{name} is remembered in namespace {namespace:?}", kind.to_lowercase());
    };
    let tree = Tree::new(&log.items);
    let mine: Vec<u64> =
        log.items.iter().filter(|c| c.uid == latest.uid && is_meant(&c.key)).map(|c| c.revision).collect();
    Ok(tree.show(&mine, all))
}

/// Changes by revision, each below one of its causes.
struct Tree<'a> {
    changes: BTreeMap<u64, &'a Change>,
    children: BTreeMap<u64, Vec<u64>>,
}

impl<'a> Tree<'a> {
    fn new(items: &'a [Change]) -> Tree<'a> {
        // Events tell about changes, and a lease is only renewed: neither causes a change.
        let counts = |c: &&Change| c.key.kind != "Event" && c.key.kind != "Lease";
        let changes: BTreeMap<u64, &Change> = items.iter().filter(counts).map(|c| (c.revision, c)).collect();
        let mut children: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for change in changes.values() {
            if let Some(parent) = parent(change, &changes) {
                children.entry(parent).or_default().push(change.revision);
            }
        }
        Tree { changes, children }
    }

    /// The trees that hold the given changes; nothing that neither led to them nor came of them.
    fn show(&self, mine: &[u64], all: bool) -> String {
        let (mut keep, mut roots) = (BTreeSet::new(), BTreeSet::new());
        for revision in mine {
            let mut at = *revision;
            keep.insert(at);
            while let Some(up) = self.changes.get(&at).and_then(|c| parent(c, &self.changes)) {
                keep.insert(up);
                at = up;
            }
            roots.insert(at);
            let mut below = vec![*revision];
            while let Some(at) = below.pop() {
                keep.insert(at);
                below.extend(self.children.get(&at).into_iter().flatten());
            }
        }
        let mut out = String::new();
        for root in roots {
            let Some(change) = self.changes.get(&root) else { continue };
            out.push_str(&self.line(change, None, "", ""));
            self.below(change, "", &keep, all, &mut out);
        }
        out
    }

    fn below(&self, change: &Change, indent: &str, keep: &BTreeSet<u64>, all: bool, out: &mut String) {
        let kept = self.children.get(&change.revision).into_iter().flatten().filter(|r| keep.contains(r));
        let children: Vec<&Change> = kept.filter_map(|r| self.changes.get(r).copied()).collect();
        let alike = |c: &'a Change| (c.actor.as_str(), c.verb.as_str(), c.key.kind.as_str());
        let mut groups: BTreeMap<(&str, &str, &str), Vec<&Change>> = BTreeMap::new();
        let mut shown: Vec<&Change> = Vec::new();
        for child in children {
            let group = groups.entry(alike(child)).or_default();
            group.push(child);
            if all || group.len() <= EACH {
                shown.push(child);
            }
        }
        let hidden: Vec<&[&Change]> =
            groups.values().filter(|group| !all && group.len() > EACH).map(|group| &group[EACH..]).collect();
        for (i, child) in shown.iter().enumerate() {
            let last = i + 1 == shown.len() && hidden.is_empty();
            let (branch, trunk) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            out.push_str(&self.line(child, Some(change), indent, branch));
            self.below(child, &format!("{indent}{trunk}"), keep, all, out);
        }
        for (i, changes) in hidden.iter().enumerate() {
            let branch = if i + 1 == hidden.len() { "└─ " } else { "├─ " };
            out.push_str(&format!("{:>9}  {indent}{branch}{} (--all shows them)\n", "", summary(changes)));
        }
    }

    /// `+12 ms  ├─ deployment-controller created replicaset/web-5d7  #41`.
    fn line(&self, change: &Change, cause: Option<&Change>, indent: &str, branch: &str) -> String {
        let when = match cause {
            None => change.time.strftime("%H:%M:%S").to_string(),
            Some(cause) => {
                let took = change.time.duration_since(cause.time).try_into().unwrap_or_default();
                format!("+{}", human(took))
            }
        };
        let text = format!("{when:>9}  {indent}{branch}{} {}", change.actor, change.what_was_done());
        // What else made them do it: the node that made room, the pod that went.
        let others = change.causes.iter().filter(|r| cause.is_some_and(|c| c.revision != **r));
        let others: Vec<_> =
            others.filter_map(|r| self.changes.get(r)).filter(|c| c.uid != change.uid).collect();
        let also = match others.as_slice() {
            [] => String::new(),
            [one] => format!(", after {} #{}", one.key, one.revision),
            // A batch can have dozens of causes: the first tells, the rest is counted.
            [one, rest @ ..] => format!(", after {} #{} and {} more", one.key, one.revision, rest.len()),
        };
        let number = format!("  #{}", change.revision);
        format!("{}{number}\n", fit(&format!("{text}{also}"), WIDTH.saturating_sub(number.chars().count())))
    }
}

/// Changes of one writer, verb and kind that are not shown one by one: of one object, each of another, or several of several.
fn summary(changes: &[&Change]) -> String {
    let [first, ..] = changes else { return String::new() };
    let objects: BTreeSet<&str> = changes.iter().map(|change| change.uid.as_str()).collect();
    let (actor, count) = (&first.actor, changes.len());
    let done = match first.verb.as_str() {
        "create" => "created",
        "delete" => "removed",
        _ => "updated",
    };
    let times = if count == 1 { "once more".to_owned() } else { format!("{count} more times") };
    match objects.len() {
        1 if done == "updated" => format!("{actor} {done} {} {times}", first.key),
        several if several == count => {
            format!("{actor} {done} {count} more {}", kinds(&first.key.kind, count))
        }
        several => format!("{actor} {done} {several} {} {times}", kinds(&first.key.kind, several)),
    }
}

/// `pods`, or `pod` for one.
fn kinds(kind: &str, count: usize) -> String {
    let word = kind.to_lowercase();
    match word.as_bytes() {
        _ if count == 1 => word,
        [.., b's', b's'] => word + "es",
        // `endpoints`.
        [.., b's'] => word,
        [start @ .., b'y'] if !start.ends_with(b"a") => format!("{}ies", &word[..word.len() - 1]),
        _ => word + "s",
    }
}

/// The cause that a change stands below: the latest change of the same object, if that is one; else the latest of all.
fn parent(change: &Change, changes: &BTreeMap<u64, &Change>) -> Option<u64> {
    let known = change.causes.iter().filter(|r| **r < change.revision).filter_map(|r| changes.get(r));
    known.max_by_key(|cause| (cause.uid == change.uid, cause.revision)).map(|cause| cause.revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: u64, causes: &[u64], actor: &str, verb: &str, kind: &str, name: &str) -> Change {
        let time =
            jiff::Timestamp::from_millisecond(i64::try_from(revision).expect("small") * 10).expect("a time");
        Change {
            revision,
            time,
            actor: actor.into(),
            causes: causes.into(),
            verb: verb.into(),
            key: Key { kind: kind.into(), name: name.into(), namespace: "d".into(), ..Key::default() },
            uid: name.into(),
            ..Change::default()
        }
    }

    fn log() -> Vec<Change> {
        vec![
            change(1, &[], "admin", "create", "Deployment", "web"),
            change(2, &[1], "deployment-controller", "create", "ReplicaSet", "web-1"),
            change(3, &[2], "replicaset-controller", "create", "Pod", "web-1-a"),
            change(4, &[2], "replicaset-controller", "create", "Pod", "web-1-b"),
            change(5, &[], "admin", "create", "ConfigMap", "other"),
            change(6, &[3], "default-scheduler", "create", "Event", "x"),
            change(7, &[3], "default-scheduler", "update", "Pod", "web-1-a"),
            change(8, &[7], "node-1", "update", "Pod", "web-1-a"),
        ]
    }

    #[test]
    fn many_causes_are_counted_and_fit_a_line() {
        let mut log: Vec<Change> =
            (1..40).map(|n| change(n, &[], "admin", "update", "Node", &format!("node-{n}"))).collect();
        let causes: Vec<u64> = (1..40).collect();
        log.push(change(40, &causes, "default-scheduler", "update", "Pod", "a"));
        let text = Tree::new(&log).show(&[1, 39], false);
        assert!(text.contains("and 37 more  #40"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn the_whole_tree_of_an_act() {
        let log = log();
        let expected = [
            " 00:00:00  admin created deployment/web  #1",
            "   +10 ms  └─ deployment-controller created replicaset/web-1  #2",
            "   +10 ms     ├─ replicaset-controller created pod/web-1-a  #3",
            "   +40 ms     │  └─ default-scheduler updated pod/web-1-a  #7",
            "   +10 ms     │     └─ node-1 updated pod/web-1-a  #8",
            "   +20 ms     └─ replicaset-controller created pod/web-1-b  #4",
        ];
        let text = Tree::new(&log).show(&[1], false);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn one_pods_own_story() {
        let log = log();
        let text = Tree::new(&log).show(&[3, 7, 8], false);
        assert!(text.starts_with(" 00:00:00  admin created deployment/web"), "{text}");
        assert!(
            text.contains("node-1 updated") && !text.contains("web-1-b") && !text.contains("other"),
            "{text}"
        );
    }

    #[test]
    fn what_else_led_to_it_is_named() {
        let mut log = log();
        log.push(change(9, &[], "admin", "update", "Node", "a"));
        log.push(change(10, &[4, 9], "default-scheduler", "update", "Pod", "web-1-b"));
        let text = Tree::new(&log).show(&[1], false);
        assert!(
            text.contains(
                "   +60 ms        └─ default-scheduler updated pod/web-1-b, after node/a #9  #10\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn many_alike_are_counted() {
        let mut log = vec![change(1, &[], "admin", "create", "ReplicaSet", "r")];
        log.extend(
            (2..20).map(|n| change(n, &[1], "replicaset-controller", "create", "Pod", &format!("p{n}"))),
        );
        let text = Tree::new(&log).show(&[1], false);
        assert_eq!(text.lines().count(), 1 + EACH + 1, "{text}");
        assert!(text.ends_with("replicaset-controller created 13 more pods (--all shows them)\n"), "{text}");
        assert_eq!(Tree::new(&log).show(&[1], true).lines().count(), 19);
    }

    #[test]
    fn what_is_not_shown_is_told_by_objects_and_times() {
        let cases: [(&str, &str, &[&str], &str); 8] = [
            ("update", "Pod", &["a", "a", "a"], "w updated pod/a 3 more times"),
            ("update", "Pod", &["a"], "w updated pod/a once more"),
            ("update", "Pod", &["a", "b"], "w updated 2 more pods"),
            ("update", "Pod", &["a", "b", "a"], "w updated 2 pods 3 more times"),
            ("create", "Pod", &["a"], "w created 1 more pod"),
            ("delete", "Ingress", &["a", "b"], "w removed 2 more ingresses"),
            ("delete", "NetworkPolicy", &["a", "b"], "w removed 2 more networkpolicies"),
            ("create", "Endpoints", &["a", "b"], "w created 2 more endpoints"),
        ];
        for (verb, kind, names, expected) in cases {
            let mut log = vec![change(1, &[], "admin", "create", "Deployment", "d")];
            let names = ["x"; EACH].iter().chain(names).zip(2..);
            log.extend(names.map(|(name, n)| change(n, &[1], "w", verb, kind, name)));
            let text = Tree::new(&log).show(&[1], false);
            assert!(text.ends_with(&format!("└─ {expected} (--all shows them)\n")), "{expected}: {text}");
        }
    }
}

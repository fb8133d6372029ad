//! The flags of `coracle up` that describe a cluster, and what they make of one that is new, or that is there already.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::cluster::{NodeSpec, Runtime, Spec, Timing};
use crate::parts::Parts;
use crate::size::NodeSize;

/// How many nodes a cluster gets where nobody says.
const NODES: u32 = 3;

/// The flags that describe a cluster. What is not given stays as an earlier `up` had it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClusterFlags {
    /// How many nodes, 3 where it is not given; `coracle node add` adds to a cluster that is there
    #[arg(long, value_name = "K", conflicts_with = "config")]
    pub nodes: Option<u32>,
    /// What each node offers, 2cpu,2Gi where it is not given
    #[arg(long, value_name = "SIZE", conflicts_with = "config")]
    pub node_size: Option<NodeSize>,
    /// A file that describes the nodes one by one, and how the scheduler chooses among them
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What runs the containers, docker where it is not given
    #[arg(long, value_enum)]
    pub runtime: Option<Runtime>,
    /// How fast the cluster notices and reacts, demo where it is not given
    #[arg(long, value_enum)]
    pub timing: Option<Timing>,
    /// Port of the API server on 127.0.0.1; a free one where it is not given, which the cluster then keeps
    #[arg(long, value_name = "P")]
    pub port: Option<u16>,
    /// Which components to start: apiserver, controllers, scheduler, agents; all where it is not given
    #[arg(long, value_name = "LIST")]
    pub parts: Option<Parts>,
    /// Let requests without credentials in as system:anonymous, who may do next to nothing, instead of answering 401
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub anonymous_auth: Option<bool>,
    /// How long events are kept after they were last written, 1h where it is not given
    #[arg(long, value_name = "TIME", value_parser = crate::print::time::duration)]
    pub event_ttl: Option<Duration>,
}

/// A cluster file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterFile {
    nodes: Vec<NodeSpec>,
    #[serde(default)]
    scheduler: coracle_scheduler::Config,
}

impl ClusterFile {
    fn read(file: &Path) -> Result<ClusterFile> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        ClusterFile::parse(&text).with_context(|| format!("in {}", file.display()))
    }

    fn parse(text: &str) -> Result<ClusterFile> {
        let parsed: ClusterFile = serde_saphyr::from_str(text)?;
        parsed.nodes.iter().try_for_each(NodeSpec::check)?;
        if let Some(twice) = names(&parsed.nodes).windows(2).find(|pair| pair[0] == pair[1]) {
            bail!("two nodes are called {:?}", twice[0]);
        }
        // Asked here, so that a policy that does not exist is told before anything starts.
        parsed.scheduler.chosen()?;
        Ok(parsed)
    }
}

/// The names, sorted.
fn names(nodes: &[NodeSpec]) -> Vec<&str> {
    let mut names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    names.sort_unstable();
    names
}

impl ClusterFlags {
    /// The cluster that is to run: a new one, or `kept` with what may change about it changed.
    ///
    /// # Errors
    /// A cluster file that cannot be read or makes no sense, or a wish that a cluster that is there cannot fulfil.
    pub fn spec(&self, name: &str, kept: Option<Spec>) -> Result<Spec> {
        let file = self.config.as_deref().map(ClusterFile::read).transpose()?;
        let mut spec = match kept {
            Some(kept) => {
                self.fits(&kept, file.as_ref())?;
                kept
            }
            None => Spec {
                name: name.to_owned(),
                port: 0,
                runtime: self.runtime.unwrap_or_default(),
                timing: Timing::default(),
                parts: Parts::ALL,
                anonymous_auth: false,
                event_ttl: coracle_apiserver::EVENT_TTL,
                nodes: match &file {
                    Some(file) => file.nodes.clone(),
                    None => self.equal_nodes(),
                },
                scheduler: coracle_scheduler::Config::default(),
            },
        };
        spec.port = self.port.filter(|port| *port != 0).unwrap_or(spec.port);
        spec.timing = self.timing.unwrap_or(spec.timing);
        spec.parts = self.parts.unwrap_or(spec.parts);
        spec.anonymous_auth = self.anonymous_auth.unwrap_or(spec.anonymous_auth);
        spec.event_ttl = self.event_ttl.unwrap_or(spec.event_ttl);
        if let Some(file) = file {
            spec.scheduler = file.scheduler;
        }
        Ok(spec)
    }

    /// Nodes hold pods, and containers are on one runtime: `up` does not change them unasked.
    fn fits(&self, kept: &Spec, file: Option<&ClusterFile>) -> Result<()> {
        let name = &kept.name;
        let count = kept.nodes.len();
        if self.nodes.is_some_and(|nodes| usize::try_from(nodes) != Ok(count)) {
            bail!("cluster {name} is there already, number of nodes: {count}; `coracle node add` adds one");
        }
        if let Some(size) = &self.node_size
            && let Some(other) = kept.nodes.iter().find(|node| node.size != *size)
        {
            bail!(
                "cluster {name} is there already, and {} has {}; `coracle node add` adds a node of another size",
                other.name,
                other.size
            );
        }
        if self.runtime.is_some_and(|runtime| runtime != kept.runtime) {
            bail!("cluster {name} is there already, on another runtime; say another --name");
        }
        if file.is_some_and(|file| names(&file.nodes) != names(&kept.nodes)) {
            bail!(
                "cluster {name} is there already, with the nodes {}; `coracle node add` adds one",
                names(&kept.nodes).join(", ")
            );
        }
        Ok(())
    }

    /// `node-1`, `node-2` and so on, all of one size.
    fn equal_nodes(&self) -> Vec<NodeSpec> {
        let size = self.node_size.clone().unwrap_or_default();
        let numbers = 1..=self.nodes.unwrap_or(NODES);
        numbers.map(|number| NodeSpec::new(&format!("node-{number}"), size.clone())).collect()
    }

    /// The same as arguments, for the process that is to run the cluster.
    pub fn arguments(&self) -> Result<Vec<OsString>> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |flag: &str, value: Option<String>| {
            arguments.extend(value.map(|value| format!("--{flag}={value}").into()));
        };
        add("nodes", self.nodes.map(|nodes| nodes.to_string()));
        add("node-size", self.node_size.as_ref().map(ToString::to_string));
        add("runtime", self.runtime.map(clap_name));
        add("timing", self.timing.map(clap_name));
        add("port", self.port.map(|port| port.to_string()));
        add("parts", self.parts.map(|parts| parts.to_string()));
        add("event-ttl", self.event_ttl.map(|ttl| ttl.as_secs().to_string()));
        add("anonymous-auth", self.anonymous_auth.map(|yes| yes.to_string()));
        if let Some(file) = &self.config {
            arguments.extend(["--config".into(), std::path::absolute(file)?.into()]);
        }
        Ok(arguments)
    }
}

fn clap_name<T: clap::ValueEnum>(value: T) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        flags: ClusterFlags,
    }

    fn parsed(flags: &[&str]) -> ClusterFlags {
        Line::parse_from([&["up"], flags].concat()).flags
    }

    #[test]
    fn cluster_files_are_read_whole_or_refused() {
        let good = ClusterFile::parse(
            "nodes: [{name: a, size: '1cpu,1Gi'}, {name: b}]\nscheduler: {profile: spread}\n",
        );
        let good = good.expect("a cluster");
        assert_eq!((good.nodes.len(), good.scheduler.profile.as_str()), (2, "spread"));
        assert_eq!(
            ClusterFile::parse("nodes: [{name: a}]").expect("a cluster").scheduler.profile,
            "bin-pack"
        );
        for (text, words) in [
            ("nodes: [{name: a}, {name: a}]", "two nodes are called \"a\""),
            ("nodes: [{name: A}]", "\"A\" cannot be the name of a node"),
            ("nodes: [{name: a, labels: {'a b': c}}]", "label \"a b\""),
            ("nodes: [{name: a, taints: ['gpu']}]", "key=value:Effect"),
            ("nodes: [{name: a, size: '0cpu,1Gi'}]", "no cpu"),
            ("nodes: [{name: a}]\nscheduler: {profile: tight}", "there are bin-pack, spread, balanced"),
            ("nodes: [{name: a, colour: red}]", "colour"),
            ("nodes: 3", "nodes"),
        ] {
            let error = ClusterFile::parse(text).map(|_| ()).map_err(|error| format!("{error:#}"));
            assert!(error.as_ref().is_err_and(|error| error.contains(words)), "case {text:?}: {error:?}");
        }
    }

    #[test]
    fn what_is_not_given_stays() {
        let first = parsed(&["--nodes", "2", "--timing", "kubernetes", "--anonymous-auth"]).spec("c", None);
        let first = first.expect("a cluster");
        assert_eq!((first.nodes.len(), first.nodes[1].name.as_str()), (2, "node-2"));
        assert_eq!(parsed(&[]).spec("c", Some(first.clone())).expect("the same"), first);
        let changed = parsed(&[
            "--timing=demo",
            "--parts=apiserver",
            "--anonymous-auth=false",
            "--port=7",
            "--event-ttl=5m",
        ]);
        let changed = changed.spec("c", Some(first.clone())).expect("changed");
        let expected = Spec {
            timing: Timing::Demo,
            parts: "apiserver".parse().expect("parts"),
            anonymous_auth: false,
            event_ttl: Duration::from_secs(300),
            port: 7,
            ..first.clone()
        };
        assert_eq!(changed, expected);
        for (flags, words) in [
            (["--nodes", "3"], "number of nodes: 2; `coracle node add`"),
            (["--node-size", "4cpu,4Gi"], "node-1 has 2cpu,2Gi"),
            (["--runtime", "sim"], "another --name"),
        ] {
            let error = parsed(&flags).spec("c", Some(first.clone())).map_err(|error| error.to_string());
            assert!(error.as_ref().is_err_and(|error| error.contains(words)), "case {flags:?}: {error:?}");
        }
    }

    #[test]
    fn arguments_say_the_same_again() {
        for flags in [
            &[][..],
            &["--nodes=5", "--node-size=4cpu,8Gi", "--runtime=sim", "--timing=kubernetes"],
            &["--port=0", "--parts=apiserver,controllers", "--anonymous-auth=false", "--event-ttl=1h30m"],
        ] {
            let arguments = parsed(flags).arguments().expect("arguments");
            let again: Vec<&str> = arguments.iter().filter_map(|a| a.to_str()).collect();
            assert_eq!(format!("{:?}", parsed(&again)), format!("{:?}", parsed(flags)));
        }
    }
}

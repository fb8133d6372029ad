//! Ports that clash: all containers of a pod share one network.

use std::collections::{BTreeMap, HashMap};

use super::limit::MOST_WARNINGS;
use crate::field::Field;
use crate::podspec::visit_containers;

/// A port that came before: where, and what of the host it takes.
struct Earlier {
    at: String,
    ip: String,
    host: i64,
}

/// The earlier ports of one number and protocol, and ways to find those that a new one may clash with.
#[derive(Default)]
struct Same {
    all: Vec<Earlier>,
    /// Those without a port of the host.
    without_host: Vec<usize>,
    /// Those with one, by its number.
    by_host: HashMap<i64, Vec<usize>>,
}

impl Same {
    /// The earlier ports that a port clashes with, in order, and how. Costs as much as there are clashes.
    fn clashes(&self, ip: &str, host: i64, most: usize) -> Vec<(&'static str, &Earlier)> {
        let mut found: Vec<usize> = if host == 0 {
            (0..self.all.len()).take(most).collect()
        } else {
            let same_host = self.by_host.get(&host).into_iter().flatten();
            self.without_host.iter().chain(same_host).take(most).copied().collect()
        };
        found.sort_unstable();
        let how = |earlier: &Earlier| {
            if (ip, host) == (&earlier.ip, earlier.host) {
                Some("duplicate")
            } else if host == 0 || earlier.host == 0 {
                Some("overlapping")
            } else {
                (ip.is_empty() != earlier.ip.is_empty()).then_some("dangerously ambiguous")
            }
        };
        found.into_iter().filter_map(|at| Some((how(&self.all[at])?, &self.all[at]))).collect()
    }

    fn add(&mut self, port: Earlier) {
        let list = match port.host {
            0 => &mut self.without_host,
            host => self.by_host.entry(host).or_default(),
        };
        list.push(self.all.len());
        self.all.push(port);
    }
}

pub(super) fn warn(spec: &Field, warnings: &mut Vec<String>) {
    let mut by_number: BTreeMap<(i64, String), Same> = BTreeMap::new();
    let mut by_name: BTreeMap<String, String> = BTreeMap::new();
    visit_containers(spec, |container| {
        for port in container.get("ports").items() {
            let room = MOST_WARNINGS.saturating_sub(warnings.len());
            if room == 0 {
                return;
            }
            let at = port.path().to_string();
            let (ip, host) = (port.str("hostIP").to_owned(), port.int("hostPort").unwrap_or(0));
            let key = (port.int("containerPort").unwrap_or(0), port.str("protocol").to_owned());
            if !ip.is_empty() && host == 0 {
                let (name, (number, protocol)) = (port.str("name"), &key);
                let shown = format!(
                    "{{Name:{name} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{ip}}}"
                );
                warnings.push(format!("{at}: hostIP set without hostPort: {shown}"));
            }
            let earlier = by_number.entry(key).or_default();
            for (how, other) in earlier.clashes(&ip, host, room) {
                warnings.push(format!("{at}: {how} port definition with {}", other.at));
            }
            earlier.add(Earlier { at: at.clone(), ip, host });
            let name = port.str("name");
            match by_name.get(name) {
                _ if name.is_empty() => {}
                Some(other) => warnings.push(format!(
                    "{at}: duplicate port name {name:?} with {other}, services and probes that select ports by name will use {other}"
                )),
                None => drop(by_name.insert(name.to_owned(), at)),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn warnings(ports: Vec<Value>) -> Vec<String> {
        let spec = json!({"containers": [{"name": "c", "ports": ports}]});
        let (mut found, pod) = (Vec::new(), json!({"spec": spec}));
        warn(&Field::top(&pod, "spec"), &mut found);
        let short =
            |text: String| text.replace("spec.containers[0].ports", "").replace(" port definition", "");
        found.into_iter().map(short).collect()
    }

    #[test]
    fn every_way_to_clash_is_told_in_order() {
        let port = |host: i64, ip: &str| json!({"containerPort": 80, "protocol": "TCP", "hostPort": host, "hostIP": ip});
        let found = warnings(vec![
            port(0, ""),
            port(8080, "10.0.0.1"),
            port(8080, ""),
            port(9090, "10.0.0.1"),
            port(8080, "10.0.0.2"),
            port(0, ""),
        ]);
        let expected = [
            "[1]: overlapping with [0]",
            "[2]: overlapping with [0]",
            "[2]: dangerously ambiguous with [1]",
            "[3]: overlapping with [0]",
            "[4]: overlapping with [0]",
            "[4]: dangerously ambiguous with [2]",
            "[5]: duplicate with [0]",
            "[5]: overlapping with [1]",
            "[5]: overlapping with [2]",
            "[5]: overlapping with [3]",
            "[5]: overlapping with [4]",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn ten_thousand_equal_ports_are_not_told_in_pairs() {
        let found = warnings(vec![json!({"containerPort": 80}); 10_000]);
        assert_eq!(found.len(), MOST_WARNINGS);
    }
}

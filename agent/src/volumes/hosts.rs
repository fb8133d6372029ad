//! `/etc/hosts` and `/etc/resolv.conf` of a pod. Pure: the node's own files are handed in.

use k8s_openapi::api::core::v1::PodSpec;

use crate::spec::hostname::{CLUSTER_DOMAIN, Hostname};

/// The hosts file of a pod: its own name and its aliases; on the node's network, the node's file and the aliases.
pub fn hosts_file(spec: &PodSpec, hostname: &Hostname, address: &str, of_node: &str) -> String {
    let mut out = String::new();
    if spec.host_network == Some(true) {
        out.push_str("# Kubernetes-managed hosts file (host network).\n");
        out.push_str(of_node);
    } else {
        out.push_str("# Kubernetes-managed hosts file.\n");
        let fixed = [
            ("127.0.0.1", "localhost"),
            ("::1", "localhost ip6-localhost ip6-loopback"),
            ("fe00::0", "ip6-localnet"),
            ("fe00::0", "ip6-mcastprefix"),
            ("fe00::1", "ip6-allnodes"),
            ("fe00::2", "ip6-allrouters"),
        ];
        for (ip, names) in fixed {
            out.push_str(&format!("{ip}\t{names}\n"));
        }
        let name = &hostname.name;
        match &hostname.domain {
            Some(_) => out.push_str(&format!("{address}\t{}\t{name}\n", hostname.full())),
            None => out.push_str(&format!("{address}\t{name}\n")),
        }
    }
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
            out.push_str(&format!("{}\t{names}\n", alias.ip));
        }
    }
    out
}

/// The resolver's file of a pod. `server` answers for the cluster; `of_node` is the node's own file.
pub fn resolv_conf(spec: &PodSpec, namespace: &str, server: &str, of_node: &str) -> String {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let host_network = spec.host_network == Some(true);
    let of_cluster = policy == "ClusterFirstWithHostNet" || (policy == "ClusterFirst" && !host_network);
    let node = parse(of_node);
    let mut file = if policy == "None" {
        ResolvConf::default()
    } else if of_cluster {
        let own = [
            format!("{namespace}.svc.{CLUSTER_DOMAIN}"),
            format!("svc.{CLUSTER_DOMAIN}"),
            CLUSTER_DOMAIN.into(),
        ];
        ResolvConf {
            servers: vec![server.to_owned()],
            searches: own.into_iter().chain(node.searches).collect(),
            options: vec!["ndots:5".into()],
        }
    } else {
        node
    };
    if let Some(config) = &spec.dns_config {
        extend_unique(&mut file.servers, config.nameservers.iter().flatten().cloned());
        extend_unique(&mut file.searches, config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            let value = option.value.as_deref().filter(|value| !value.is_empty());
            let text = value.map_or_else(|| name.clone(), |value| format!("{name}:{value}"));
            // An option of the pod's replaces the cluster's.
            file.options.retain(|known| known.split(':').next() != Some(name.as_str()));
            file.options.push(text);
        }
    }
    file.to_string()
}

fn extend_unique(list: &mut Vec<String>, more: impl Iterator<Item = String>) {
    for one in more {
        if !list.contains(&one) {
            list.push(one);
        }
    }
}

#[derive(Debug, Default)]
struct ResolvConf {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

fn parse(text: &str) -> ResolvConf {
    let mut read = ResolvConf::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => read.servers.extend(words.next()),
            // The last one counts.
            Some("search") => read.searches = words.collect(),
            Some("options") => read.options.extend(words),
            _ => {}
        }
    }
    read
}

impl std::fmt::Display for ResolvConf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.searches.is_empty() {
            writeln!(f, "search {}", self.searches.join(" "))?;
        }
        for server in &self.servers {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(mut fields: serde_json::Value) -> PodSpec {
        fields["containers"] = json!([]);
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn a_pod_knows_its_names() {
        let cases = [
            (json!({}), "10.88.0.2\tx\n"),
            (
                json!({"hostAliases": [{"ip": "10.1.2.3", "hostnames": ["foo", "bar"]}]}),
                "\n# Entries added by HostAliases.\n10.1.2.3\tfoo\tbar\n",
            ),
            (json!({"hostNetwork": true}), "(host network).\n127.0.0.1 node\n"),
        ];
        for (fields, end) in cases {
            let hostname = Hostname { name: "x".into(), domain: None };
            let file = hosts_file(&spec(fields.clone()), &hostname, "10.88.0.2", "127.0.0.1 node\n");
            assert!(file.ends_with(end), "case: {fields}, file: {file}");
        }
        let within = Hostname { name: "x".into(), domain: Some("sub.ns.svc.cluster.local".into()) };
        let file = hosts_file(&spec(json!({})), &within, "10.88.0.2", "");
        assert!(file.ends_with("10.88.0.2\tx.sub.ns.svc.cluster.local\tx\n"), "{file}");
    }

    #[test]
    fn names_are_resolved_by_policy() {
        let node = "search corp.example\nnameserver 192.0.2.1\noptions edns0\n";
        let cluster = "search ns.svc.cluster.local svc.cluster.local cluster.local corp.example";
        let config = json!({"searches": ["mine.example"], "options": [{"name": "ndots", "value": "1"}]});
        let cases = [
            (json!({}), format!("{cluster}\nnameserver 10.96.0.10\noptions ndots:5\n")),
            (json!({"hostNetwork": true}), node.to_owned()),
            (json!({"dnsPolicy": "Default"}), node.to_owned()),
            (
                json!({"dnsConfig": config}),
                format!("{cluster} mine.example\nnameserver 10.96.0.10\noptions ndots:1\n"),
            ),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"]}}),
                "nameserver 192.0.2.53\n".to_owned(),
            ),
        ];
        for (fields, expected) in cases {
            let file = resolv_conf(&spec(fields.clone()), "ns", "10.96.0.10", node);
            assert_eq!(file, expected, "case: {fields}");
        }
    }
}

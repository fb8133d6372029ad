//! The host name of a pod.
//!
//! Source: `GeneratePodHostNameAndDomain` in `pkg/kubelet/kubelet_pods.go`.

use k8s_openapi::api::core::v1::Pod;

/// The domain under which Services and pods have their names.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// The longest host name that the kernel takes.
const LONGEST: usize = 64;

/// A pod's host name and the domain in which it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hostname {
    /// Without its domain.
    pub name: String,
    /// `None` where the spec names no subdomain.
    pub domain: Option<String>,
}

impl Hostname {
    /// With its domain.
    pub fn full(&self) -> String {
        self.domain.as_ref().map_or_else(|| self.name.clone(), |domain| format!("{}.{domain}", self.name))
    }
}

/// The host name of a pod: the one that its spec gives, or its name, cut to the longest that is allowed.
pub fn hostname(pod: &Pod) -> Hostname {
    let said = |word: Option<String>| word.filter(|word| !word.is_empty());
    let Some(spec) = &pod.spec else { return Hostname::default() };
    if let Some(name) = said(spec.hostname_override.clone()) {
        return Hostname { name, domain: None };
    }
    let name = said(spec.hostname.clone()).or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    let cut = name.get(..LONGEST - 1).unwrap_or(&name).trim_end_matches(['-', '.']);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain =
        said(spec.subdomain.clone()).map(|subdomain| format!("{subdomain}.{namespace}.svc.{CLUSTER_DOMAIN}"));
    Hostname { name: cut.to_owned(), domain }
}

/// What the program `hostname` prints in the pod; or why that is not possible, in upstream's words.
pub fn shown(pod: &Pod) -> Result<String, String> {
    let hostname = hostname(pod);
    if pod.spec.as_ref().is_none_or(|spec| spec.set_hostname_as_fqdn != Some(true)) {
        return Ok(hostname.name);
    }
    let full = hostname.full();
    if full.len() > LONGEST {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long ({LONGEST} characters is the max, {} characters requested)",
            full.len()
        ));
    }
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(mut spec: Value, name: &str) -> Pod {
        spec["containers"] = json!([]);
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec})).unwrap()
    }

    #[test]
    fn host_names_are_cut() {
        let long = format!("{}.bcdef-ghi", "a".repeat(60));
        let cases = [
            (pod(json!({}), "x"), "x".to_owned()),
            (pod(json!({"hostname": "h"}), "x"), "h".to_owned()),
            (pod(json!({"hostname": "h", "hostnameOverride": "other.name"}), "x"), "other.name".to_owned()),
            (pod(json!({}), &long), format!("{}.bc", "a".repeat(60))),
            (pod(json!({}), &format!("{}-b", "a".repeat(62))), "a".repeat(62)),
        ];
        for (pod, expected) in cases {
            assert_eq!(hostname(&pod).name, expected);
        }
    }

    #[test]
    fn the_kernel_may_be_told_the_whole_name() {
        let cases = [
            (json!({"subdomain": "s"}), "x"),
            (json!({"setHostnameAsFQDN": true}), "x"),
            (json!({"subdomain": "s", "setHostnameAsFQDN": true}), "x.s.ns.svc.cluster.local"),
        ];
        for (spec, expected) in cases {
            assert_eq!(shown(&pod(spec.clone(), "x")).as_deref(), Ok(expected), "spec: {spec}");
        }
        let long = pod(json!({"hostname": "a".repeat(42), "subdomain": "s", "setHostnameAsFQDN": true}), "x");
        assert!(
            shown(&long)
                .unwrap_err()
                .ends_with("is too long (64 characters is the max, 65 characters requested)")
        );
    }
}

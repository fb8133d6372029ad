//! What a pod's author may not have meant, though it is accepted.
//!
//! Source: `pkg/api/pod/warnings.go`.

mod limit;
mod paths;
mod ports;

use std::collections::HashSet;

use serde_json::Value;

use super::containers::visit_containers;
use super::validate::{APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD};
use crate::addresses::ip_warning;
use crate::field::{Field, Path};
use crate::names;
use crate::quantity::Quantity;
use limit::MOST_WARNINGS;
use paths::Paths;

/// Labels of nodes that have a newer name: the old one, since when, and the new one.
const OLD_LABELS: &[(&str, &str, &str)] = &[
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];

const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

const OLD_VOLUMES: &[(&str, &str, &str)] = &[
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

const NO_POD: &str = "a null labelSelector results in matching no pod";
const OLD_SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const OLD_APP_ARMOR: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";

/// Warnings about a new pod. Changes of pods are not looked at: they come from machines, and often.
pub fn pod_warnings(pod: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some() {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    let problems = names::dns_label(pod["metadata"]["name"].as_str().unwrap_or_default());
    if !problems.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            problems.join(" ")
        ));
    }
    warn(&Field::top(pod, "metadata"), &Field::top(pod, "spec"), &mut warnings);
    warnings
}

/// Warnings about a template, which lies at `path`.
pub fn template_warnings(template: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let template = Field::new(path, template);
    warn(&template.get("metadata"), &template.get("spec"), &mut warnings);
    warnings
}

fn warn(metadata: &Field, spec: &Field, warnings: &mut Vec<String>) {
    node_labels(spec, warnings);
    let annotations = metadata.get("annotations");
    for (key, text) in OLD_ANNOTATIONS.iter().filter(|(key, _)| !annotations.raw(key).is_null()) {
        warnings.push(format!("{}: {text}", annotations.key(key)));
    }
    volumes(&spec.get("volumes"), warnings);
    twice(&spec.get("hostAliases"), "ip", warnings);
    twice(&spec.get("imagePullSecrets"), "name", warnings);
    for secret in spec.get("imagePullSecrets").items().filter(|secret| !secret.has("name")) {
        warnings.push(format!("{}: invalid empty name \"\"", secret.get("name").path()));
    }
    for addresses in ["dnsConfig.nameservers", "hostAliases.ip"] {
        spec.each(addresses, &mut |ip| warnings.extend(ip_warning(&ip.path().to_string(), ip.text())));
    }
    fractions(&spec.get("overhead"), &["memory", "ephemeral-storage"], warnings);
    let of_pod = spec.raw("securityContext");
    if of_pod.get("seccompProfile").is_none() && !annotations.raw(SECCOMP_POD).is_null() {
        warnings.push(format!("{}: {OLD_SECCOMP}", annotations.key(SECCOMP_POD)));
    }
    visit_containers(spec, |container| {
        let own = container.raw("securityContext");
        let has_app_armor = [own, of_pod].iter().any(|context| context.get("appArmorProfile").is_some());
        for (prefix, set, text) in [
            (SECCOMP_CONTAINER, own.get("seccompProfile").is_some(), OLD_SECCOMP),
            (APP_ARMOR, has_app_armor, OLD_APP_ARMOR),
        ] {
            let key = format!("{prefix}{}", container.str("name"));
            if !set && !annotations.raw(&key).is_null() {
                warnings.push(format!("{}: {text}", annotations.key(&key)));
            }
        }
        let resources = container.get("resources");
        for resource in ["memory", "ephemeral-storage"] {
            for list in ["limits", "requests"] {
                fractions(&resources.get(list), &[resource], warnings);
            }
        }
        hidden_variables(&container.get("env"), warnings);
    });
    ports::warn(spec, warnings);
    if spec.int("terminationGracePeriodSeconds").is_some_and(|grace| grace < 0) {
        let text = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.push(format!("{}: {text}", spec.get("terminationGracePeriodSeconds").path()));
    }
    pod_terms(&spec.get("affinity"), warnings);
}

fn deprecation(label: &str) -> Option<String> {
    let (_, since, newer) = OLD_LABELS.iter().find(|(old, ..)| *old == label)?;
    Some(format!("deprecated since {since}; use \"{newer}\" instead"))
}

fn node_labels(spec: &Field, warnings: &mut Vec<String>) {
    for (label, value) in spec.get("nodeSelector").entries() {
        warnings.extend(deprecation(label).map(|text| format!("{}: {text}", value.path())));
    }
    for term in [
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
        "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution.preference",
    ] {
        spec.each(&format!("{term}.matchExpressions"), &mut |expression| {
            old_label(&expression.get("key"), warnings);
            for value in expression.get("values").items() {
                for problem in names::label_value(value.text()) {
                    warnings.push(format!("{}: {} is invalid, {problem}", value.path(), value.text()));
                }
            }
        });
    }
    for constraint in spec.get("topologySpreadConstraints").items() {
        old_label(&constraint.get("topologyKey"), warnings);
        matches_nothing(&constraint, warnings);
    }
}

fn old_label(key: &Field, warnings: &mut Vec<String>) {
    warnings.extend(deprecation(key.text()).map(|text| format!("{}: {} is {text}", key.path(), key.text())));
}

fn matches_nothing(term: &Field, warnings: &mut Vec<String>) {
    if !term.get("labelSelector").is_set() {
        warnings.push(format!("{}: {NO_POD}", term.get("labelSelector").path()));
    }
}

fn pod_terms(affinity: &Field, warnings: &mut Vec<String>) {
    for pods in affinity.among(&["podAffinity", "podAntiAffinity"]) {
        for term in [
            "requiredDuringSchedulingIgnoredDuringExecution",
            "preferredDuringSchedulingIgnoredDuringExecution.podAffinityTerm",
        ] {
            pods.each(term, &mut |term| matches_nothing(term, warnings));
        }
    }
}

fn twice(list: &Field, field: &str, warnings: &mut Vec<String>) {
    let mut taken = HashSet::new();
    for item in list.items() {
        if !taken.insert(item.str(field)) {
            warnings.push(format!("{}: duplicate {field} {:?}", item.get(field).path(), item.str(field)));
        }
    }
}

/// Warns of amounts that contain a fraction of a byte.
fn fractions(amounts: &Field, resources: &[&str], warnings: &mut Vec<String>) {
    for resource in resources {
        let quantity = Quantity::from_json(amounts.raw(resource));
        if let Some(quantity) = quantity.filter(|quantity| quantity.milli_value() % 1000 != 0) {
            let text = format!("fractional byte value \"{quantity}\" is invalid, must be an integer");
            warnings.push(format!("{}: {text}", amounts.key(resource)));
        }
    }
}

/// Warns of a variable that is set again, unless the new value contains the old one: `$(NAME)`.
fn hidden_variables(variables: &Field, warnings: &mut Vec<String>) {
    let mut taken = HashSet::new();
    for variable in variables.items() {
        let (name, value) = (variable.str("name"), variable.str("value"));
        let reference = format!("$({name})");
        let builds_on_it = value.contains(&reference) && value != reference;
        let hides = variable.get("valueFrom").is_set() || !builds_on_it;
        if !taken.insert(name) && hides {
            let text =
                format!("hides previous definition of {name:?}, which may be dropped when using apply");
            warnings.push(format!("{}: {text}", variable.path()));
        }
    }
}

fn volumes(volumes: &Field, warnings: &mut Vec<String>) {
    for volume in volumes.items() {
        for (field, shown, text) in OLD_VOLUMES {
            if volume.get(field).is_set() {
                warnings.push(format!("{}: {text}", volume.child(shown)));
            }
        }
        volume.each("ephemeral.volumeClaimTemplate.spec.resources.requests", &mut |requests| {
            fractions(requests, &["storage"], warnings);
        });
    }
    for volume in volumes.items() {
        overlapping_paths(&volume, warnings);
    }
}

fn overlapping_paths(volume: &Field, warnings: &mut Vec<String>) {
    let name = volume.str("name");
    /// The paths of a source, each with a description of what is put there, where one is needed.
    fn items<'v>(source: &Field<'_, 'v>, of: Option<String>) -> Vec<(&'v str, Option<String>)> {
        source.get("items").items().map(|item| (item.str("path"), of.clone())).collect()
    }
    for (field, called, named_by) in [
        ("configMap", "ConfigMap", "name"),
        ("secret", "Secret", "secretName"),
        ("downwardAPI", "DownwardAPI", ""),
    ] {
        let source = volume.get(field);
        let described = described(&source, called, named_by);
        overlaps(name, &described, &mut Paths::default(), items(&source, None), warnings);
    }
    let mut placed = Paths::default();
    for source in volume.get("projected").get("sources").items() {
        if source.is_empty() {
            warnings.push(format!("volume {name:?} (Projected) has no sources provided"));
        }
        for (field, called, named_by) in PROJECTIONS {
            let projection = source.get(field);
            let of = Some(described(&projection, called, named_by));
            let path = projection.get("path");
            let more = if path.is_set() { vec![(path.text(), of)] } else { items(&projection, of) };
            overlaps(name, "Projected", &mut placed, more, warnings);
        }
    }
}

/// What is projected: its field, what it is called, and by which of its fields it is told apart.
const PROJECTIONS: [(&str, &str, &str); 5] = [
    ("configMap", "ConfigMap", "name"),
    ("secret", "Secret", "name"),
    ("downwardAPI", "DownwardAPI", ""),
    ("serviceAccountToken", "ServiceAccountToken", ""),
    ("clusterTrustBundle", "ClusterTrustBundle", "name"),
];

fn described(source: &Field, called: &str, named_by: &str) -> String {
    if named_by.is_empty() { called.into() } else { format!("{called} {:?}", source.str(named_by)) }
}

fn overlaps<'p>(
    volume: &str,
    kind: &str,
    paths: &mut Paths<'p>,
    more: Vec<(&'p str, Option<String>)>,
    warnings: &mut Vec<String>,
) {
    for (path, of) in more {
        let shown = match of {
            Some(of) => format!("{path:?} ({of})"),
            None => format!("{path:?}"),
        };
        let clashes = paths.clashes(path);
        if !clashes.is_empty() && warnings.len() < MOST_WARNINGS {
            let body = format!("{shown} with {}", clashes.join(", "));
            warnings.push(format!("volume {volume:?} ({kind}): overlapping paths: {body}"));
        }
        paths.add(path, shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_hardly_meant() {
        let container = |change: Value| {
            let mut container = json!({"name": "c"});
            for (field, value) in change.as_object().into_iter().flatten() {
                container[field] = value.clone();
            }
            json!({"containers": [container]})
        };
        let cases = [
            (json!({}), vec![]),
            (
                json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
                vec![
                    "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                ],
            ),
            (
                container(
                    json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A"}]}),
                ),
                vec![
                    "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
                ],
            ),
            (
                container(json!({"ports": [{"containerPort": 1}, {"containerPort": 1, "hostPort": 2}]})),
                vec![
                    "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
                ],
            ),
            (
                container(json!({"resources": {"limits": {"memory": "100m"}}})),
                vec![
                    "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                ],
            ),
            (
                json!({"volumes": [{"name": "v", "secret": {"secretName": "a", "items": [{"path": "p"}, {"path": "p/q"}]}}]}),
                vec!["volume \"v\" (Secret \"a\"): overlapping paths: \"p/q\" with \"p\""],
            ),
        ];
        for (spec, expected) in cases {
            let pod = json!({"metadata": {"name": "x"}, "spec": spec});
            assert_eq!(pod_warnings(&pod, None), expected, "case: {pod}");
        }
        let dotted = json!({"metadata": {"name": "a.b"}, "spec": {}});
        assert_eq!(pod_warnings(&dotted, Some(&dotted)), Vec::<String>::new(), "changes are not looked at");
    }
}

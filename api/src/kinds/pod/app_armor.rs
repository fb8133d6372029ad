//! AppArmor profiles used to be set by annotations: a new pod that still does so gets the fields that replaced them.
//!
//! Source: `applyAppArmorVersionSkew` in `pkg/registry/core/pod/strategy.go`.

use serde_json::{Value, json};

use crate::defaults::{each, map_at};
use crate::field::{Field, Path};
use crate::podspec::{APP_ARMOR, visit_containers};
use crate::read::text;

/// The profile that an annotation means; nothing if it means none.
fn profile_of(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        other => {
            let name = other.strip_prefix("localhost/").filter(|name| !name.is_empty())?;
            Some(json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

/// The annotation about a container that has no profile of its own.
fn annotation<'a>(annotations: &'a Value, container: &Value) -> Option<&'a str> {
    let own = container.pointer("/securityContext/appArmorProfile");
    let key = format!("{APP_ARMOR}{}", text(container, "/name"));
    annotations.get(key).and_then(Value::as_str).filter(|_| own.is_none())
}

/// Warnings about annotations that become fields, or cannot.
pub fn app_armor_warnings(pod: &Value) -> Vec<String> {
    let (metadata, annotations) = (Path::root("metadata"), &pod["metadata"]["annotations"]);
    let of_pod = pod.pointer("/spec/securityContext/appArmorProfile");
    let mut warnings = Vec::new();
    visit_containers(&Field::top(pod, "spec"), |container| {
        let Some(text) = annotation(annotations, container.value) else { return };
        let profile = profile_of(text);
        if profile.is_none() || profile.as_ref() != of_pod {
            let key = format!("{APP_ARMOR}{}", container.str("name"));
            let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            warnings.push(format!("{}: {why}", metadata.child("annotations").key(&key)));
        }
    });
    warnings
}

/// Fills in the fields that annotations stand for.
pub(super) fn fields_from_annotations(spec: &mut Value, annotations: &Value) {
    let of_pod = spec.pointer("/securityContext/appArmorProfile").cloned();
    for list in ["initContainers", "containers"] {
        each(spec, list, &mut |container| {
            let profile = annotation(annotations, container).and_then(profile_of);
            if let Some(profile) = profile.filter(|profile| Some(profile) != of_pod.as_ref())
                && let Some(context) = map_at(container, "securityContext")
            {
                context.insert("appArmorProfile".into(), profile);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_becomes_a_field() {
        let key = format!("{APP_ARMOR}c");
        let cases = [
            ("runtime/default", Some(json!({"type": "RuntimeDefault"}))),
            ("localhost/a", Some(json!({"type": "Localhost", "localhostProfile": "a"}))),
            ("foo", None),
        ];
        for (text, expected) in cases {
            let mut pod = json!({"metadata": {"annotations": {key.as_str(): text}}, "spec": {"containers": [{"name": "c"}]}});
            assert_eq!(app_armor_warnings(&pod).len(), 1, "case: {text}");
            let annotations = pod["metadata"]["annotations"].clone();
            fields_from_annotations(&mut pod["spec"], &annotations);
            let found = pod.pointer("/spec/containers/0/securityContext/appArmorProfile");
            assert_eq!(found, expected.as_ref(), "case: {text}");
        }
    }
}

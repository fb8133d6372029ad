//! A service account that is annotated so limits its pods to the secrets that it lists itself.
//!
//! Projected volumes are not looked at, which is upstream's rule, too.
//!
//! Source: `limitSecretReferences` and `limitEphemeralContainerSecretReferences` in `plugin/pkg/admission/serviceaccount`.

use serde_json::Value;

/// The annotation of such accounts.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// What Go's `strconv.ParseBool` takes for true.
const TRUE: [&str; 6] = ["1", "t", "T", "true", "TRUE", "True"];

/// What is about to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A new pod.
    Pod,
    /// More containers for debugging in a pod that is there.
    EphemeralContainers,
}

/// Why the account does not let a pod refer to what it refers to; `None` where it does.
pub(super) fn refusal(account: &Value, spec: &Value, wanted: Wanted) -> Option<String> {
    let enforced = account["metadata"]["annotations"][ENFORCE].as_str().is_some_and(|on| TRUE.contains(&on));
    if !enforced {
        return None;
    }
    let lists = |field: &str, name: &str| each(account, field).any(|known| known["name"] == name);
    let who = account["metadata"]["name"].as_str().unwrap_or_default();
    let secret = |referrer: String, name: &Value| {
        let name = name.as_str().filter(|name| !lists("secrets", name))?;
        Some(format!(
            "{referrer} secret.secretName=\"{name}\" is not allowed because service account {who} does not reference that secret"
        ))
    };
    let in_container = |word: &str, container: &Value| {
        let title = format!("{word} {}", text(&container["name"]));
        let by_env = |env: &Value| {
            let referrer = format!("{title} with envVar {} referencing", text(&env["name"]));
            secret(referrer, &env["valueFrom"]["secretKeyRef"]["name"])
        };
        let by_source = |source: &Value| {
            secret(format!("{title} with envFrom referencing"), &source["secretRef"]["name"])
        };
        each(container, "env").find_map(by_env).or_else(|| each(container, "envFrom").find_map(by_source))
    };
    let in_containers =
        |list: &str, word: &str| each(spec, list).find_map(|container| in_container(word, container));
    if wanted == Wanted::EphemeralContainers {
        return in_containers("ephemeralContainers", "ephemeral container");
    }
    let pulled = || {
        each(spec, "imagePullSecrets").enumerate().find_map(|(i, pull)| {
            let name = text(&pull["name"]);
            (!lists("imagePullSecrets", name)).then(|| {
                format!("imagePullSecrets[{i}].name=\"{name}\" is not allowed because service account {who} does not reference that imagePullSecret")
            })
        })
    };
    each(spec, "volumes")
        .find_map(|volume| secret("volume with".into(), &volume["secret"]["secretName"]))
        .or_else(|| in_containers("initContainers", "init container"))
        .or_else(|| in_containers("containers", "container"))
        .or_else(pulled)
}

fn each<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_listed_secrets_may_be_named_with_upstreams_texts() {
        let account = |on: &str| {
            json!({
                "metadata": {"name": "sa", "annotations": {ENFORCE: on}},
                "secrets": [{"name": "ok"}], "imagePullSecrets": [{"name": "pull"}],
            })
        };
        let env =
            |name: &str| json!([{"name": "E", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]);
        let from = |name: &str| json!([{"secretRef": {"name": name}}]);
        let spec = |name: &str, referrer: &str| match referrer {
            "volume with" => json!({"volumes": [{"secret": {"secretName": name}}]}),
            "init container c with envVar E referencing" => {
                json!({"initContainers": [{"name": "c", "env": env(name)}]})
            }
            "init container c with envFrom referencing" => {
                json!({"initContainers": [{"name": "c", "envFrom": from(name)}]})
            }
            "container c with envVar E referencing" => {
                json!({"containers": [{"name": "c", "env": env(name)}]})
            }
            "container c with envFrom referencing" => {
                json!({"containers": [{"name": "c", "envFrom": from(name)}]})
            }
            "ephemeral container c with envVar E referencing" => {
                json!({"ephemeralContainers": [{"name": "c", "env": env(name)}]})
            }
            _ => json!({"ephemeralContainers": [{"name": "c", "envFrom": from(name)}]}),
        };
        for (referrer, wanted) in [
            ("volume with", Wanted::Pod),
            ("init container c with envVar E referencing", Wanted::Pod),
            ("init container c with envFrom referencing", Wanted::Pod),
            ("container c with envVar E referencing", Wanted::Pod),
            ("container c with envFrom referencing", Wanted::Pod),
            ("ephemeral container c with envVar E referencing", Wanted::EphemeralContainers),
            ("ephemeral container c with envFrom referencing", Wanted::EphemeralContainers),
        ] {
            let text = format!(
                "{referrer} secret.secretName=\"bad\" is not allowed because service account sa does not reference that secret"
            );
            assert_eq!(refusal(&account("true"), &spec("bad", referrer), wanted), Some(text));
            assert_eq!(refusal(&account("true"), &spec("ok", referrer), wanted), None, "{referrer}");
            for off in ["false", "yes", ""] {
                assert_eq!(
                    refusal(&account(off), &spec("bad", referrer), wanted),
                    None,
                    "{referrer} {off:?}"
                );
            }
        }
        let pulls = json!({"imagePullSecrets": [{"name": "pull"}, {"name": "bad"}]});
        let text = "imagePullSecrets[1].name=\"bad\" is not allowed because service account sa does not reference that imagePullSecret";
        assert_eq!(refusal(&account("T"), &pulls, Wanted::Pod).as_deref(), Some(text));
    }
}

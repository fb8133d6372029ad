//! The kinds that a server serves, by every name they go by.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::server::connection::Connection;

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// One kind that the server serves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Served {
    /// Empty for the core group.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// `Pod`.
    pub kind: String,
    /// `pods`.
    pub plural: String,
    /// `pod`.
    pub singular: String,
    /// `po`.
    pub short: Vec<String>,
    /// `all`.
    pub categories: Vec<String>,
    /// In namespaces.
    pub namespaced: bool,
}

impl Served {
    /// `deployment.apps`, or `pod`: how messages name it.
    pub fn title(&self) -> String {
        if self.group.is_empty() {
            self.singular.clone()
        } else {
            format!("{}.{}", self.singular, self.group)
        }
    }

    /// Path of all objects in a namespace, or of all.
    pub fn list_path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace {
            Some(namespace) if self.namespaced => format!("{root}/namespaces/{namespace}/{}", self.plural),
            _ => format!("{root}/{}", self.plural),
        }
    }

    /// Path of one object.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.list_path(Some(namespace)))
    }

    fn is_called(&self, word: &str) -> bool {
        let (word, rest) = word.split_once('.').unwrap_or((word, ""));
        let group = rest.strip_prefix(&format!("{}.", self.version)).unwrap_or(rest);
        let named = [&self.plural, &self.singular].into_iter().chain(&self.short).any(|n| n == word)
            || self.kind.to_lowercase() == word;
        named && (group.is_empty() || group == self.group)
    }
}

/// All kinds of a server.
pub struct Catalogue(Vec<Served>);

impl Catalogue {
    /// Asks the server.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn fetch(connection: &Connection) -> Result<Catalogue> {
        let mut all = Vec::new();
        for root in ["/api", "/apis"] {
            let answer = connection.get_as(root, AGGREGATED).await?;
            if answer["kind"] == "APIGroupDiscoveryList" {
                all.extend(aggregated(&answer));
            } else {
                for path in group_versions(&answer) {
                    // A group whose server is down must not hide the others.
                    if let Ok(list) = connection.get(&path).await {
                        all.extend(plain(&list));
                    }
                }
            }
        }
        Ok(Catalogue(all))
    }

    /// The kinds that words such as `pods`, `deploy,svc` or `all` mean.
    ///
    /// # Errors
    /// A word that means none.
    pub fn find(&self, words: &str) -> Result<Vec<Served>> {
        let mut found: Vec<Served> = Vec::new();
        for word in words.split(',').map(str::to_lowercase) {
            let one = self.0.iter().find(|k| k.is_called(&word));
            let many = self.0.iter().filter(|k| k.categories.contains(&word));
            let meant: Vec<&Served> = one.map_or_else(|| many.collect(), |one| vec![one]);
            if meant.is_empty() {
                bail!("the server doesn't have a resource type {word:?}{}", self.suggestion(&word));
            }
            for kind in meant {
                if !found.contains(kind) {
                    found.push(kind.clone());
                }
            }
        }
        Ok(found)
    }

    /// The kind of an object, by its `apiVersion` and `kind`.
    ///
    /// # Errors
    /// The server does not serve it.
    pub fn of(&self, object: &Value) -> Result<&Served> {
        let (api_version, kind) =
            (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        match self.0.iter().find(|k| (&*k.group, &*k.version, &*k.kind) == (group, version, kind)) {
            Some(kind) => Ok(kind),
            None if kind.is_empty() || api_version.is_empty() => {
                bail!("an object without apiVersion or kind; each document needs both")
            }
            None => bail!("no matches for kind {kind:?} in version {api_version:?}"),
        }
    }

    fn suggestion(&self, word: &str) -> String {
        let near = self.0.iter().filter(|k| k.plural.starts_with(word) || word.starts_with(&k.singular));
        let near: Vec<&str> = near.map(|k| k.plural.as_str()).collect();
        if !near.is_empty() {
            return format!("; did you mean {}?", near.join(" or "));
        }
        let some: Vec<&str> = self.0.iter().take(12).map(|k| k.plural.as_str()).collect();
        format!("; it has {}{}", some.join(", "), if self.0.len() > some.len() { " and more" } else { "" })
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(String::from)).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[field].as_array().into_iter().flatten()
}

/// The preferred version of each group stands first; later ones only add what it lacks.
fn aggregated(answer: &Value) -> Vec<Served> {
    let mut all: Vec<Served> = Vec::new();
    for group in items(answer, "items") {
        for version in items(group, "versions") {
            for resource in items(version, "resources") {
                let served = Served {
                    group: text(&group["metadata"]["name"]),
                    version: text(&version["version"]),
                    kind: text(&resource["responseKind"]["kind"]),
                    plural: text(&resource["resource"]),
                    singular: text(&resource["singularResource"]),
                    short: texts(&resource["shortNames"]),
                    categories: texts(&resource["categories"]),
                    namespaced: resource["scope"] == "Namespaced",
                };
                all.push(served);
            }
        }
    }
    all
}

fn group_versions(answer: &Value) -> Vec<String> {
    let core = texts(&answer["versions"]).into_iter().map(|v| format!("/api/{v}"));
    let groups =
        items(answer, "groups").map(|g| format!("/apis/{}", text(&g["preferredVersion"]["groupVersion"])));
    core.chain(groups).collect()
}

fn plain(list: &Value) -> Vec<Served> {
    let api_version = text(&list["groupVersion"]);
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let resources = items(list, "resources").filter(|r| !text(&r["name"]).contains('/'));
    resources
        .map(|r| Served {
            group: group.into(),
            version: version.into(),
            kind: text(&r["kind"]),
            plural: text(&r["name"]),
            singular: text(&r["singularName"]),
            short: texts(&r["shortNames"]),
            categories: texts(&r["categories"]),
            namespaced: r["namespaced"] == true,
        })
        .collect()
}

/// What the arguments of a verb name: kinds, and objects of them.
#[derive(Debug, PartialEq)]
pub struct Selected {
    /// The kind.
    pub kind: Served,
    /// One object; `None`: all of them.
    pub name: Option<String>,
}

/// Reads `pods`, `pod a b`, `pod/a svc/b`, `deploy,svc`.
///
/// # Errors
/// A kind that does not exist, or a mixture that means nothing.
pub fn selected(catalogue: &Catalogue, words: &[String]) -> Result<Vec<Selected>> {
    let Some((first, rest)) = words.split_first() else {
        bail!("which kind? For example: coracle get pods");
    };
    if words.iter().any(|w| w.contains('/')) {
        let mut all = Vec::new();
        for word in words {
            let Some((kind, name)) = word.split_once('/') else {
                bail!("{word:?} stands among KIND/NAME pairs; write it as KIND/NAME too");
            };
            for kind in catalogue.find(kind)? {
                all.push(Selected { kind, name: Some(name.into()) });
            }
        }
        return Ok(all);
    }
    let kinds = catalogue.find(first)?;
    if rest.is_empty() {
        return Ok(kinds.into_iter().map(|kind| Selected { kind, name: None }).collect());
    }
    Ok(kinds
        .iter()
        .flat_map(|k| rest.iter().map(|n| Selected { kind: k.clone(), name: Some(n.clone()) }))
        .collect())
}

/// Reads what must name one object: `deployment/web`, or `deployment web`.
///
/// # Errors
/// Anything else.
pub fn one(catalogue: &Catalogue, words: &[String]) -> Result<(Served, String)> {
    match selected(catalogue, words)?.as_slice() {
        [Selected { kind, name: Some(name) }] => Ok((kind.clone(), name.clone())),
        _ => bail!("name one object, as KIND/NAME, such as deployment/web"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn catalogue() -> Catalogue {
        Catalogue(aggregated(&json!({ "items": [
            { "metadata": {}, "versions": [{ "version": "v1", "resources": [
                { "resource": "pods", "responseKind": { "kind": "Pod" }, "scope": "Namespaced", "singularResource": "pod", "shortNames": ["po"], "categories": ["all"] },
                { "resource": "nodes", "responseKind": { "kind": "Node" }, "scope": "Cluster", "singularResource": "node", "shortNames": ["no"] },
            ] }] },
            { "metadata": { "name": "apps" }, "versions": [{ "version": "v1", "resources": [
                { "resource": "deployments", "responseKind": { "kind": "Deployment" }, "scope": "Namespaced", "singularResource": "deployment", "shortNames": ["deploy"], "categories": ["all"] },
            ] }] },
        ] })))
    }

    #[test]
    fn kinds_by_all_their_names() {
        let names = |words: &str| {
            let found = catalogue().find(words).map_err(|e| e.to_string())?;
            Ok(found.iter().map(|k| k.plural.clone()).collect::<Vec<_>>().join(" "))
        };
        let cases: [(&str, Result<&str, &str>); 8] = [
            ("pods", Ok("pods")),
            ("po", Ok("pods")),
            ("Pod", Ok("pods")),
            ("deployments.apps", Ok("deployments")),
            ("deployments.v1.apps", Ok("deployments")),
            ("all", Ok("pods deployments")),
            ("po,no,pods", Ok("pods nodes")),
            ("dep", Err("the server doesn't have a resource type \"dep\"; did you mean deployments?")),
        ];
        for (words, expected) in cases {
            assert_eq!(names(words), expected.map(String::from).map_err(String::from), "case: {words}");
        }
    }

    #[test]
    fn arguments_name_kinds_and_objects() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_string()).collect();
            let all = selected(&catalogue(), &words).map_err(|e| e.to_string())?;
            Ok::<_, String>(
                all.iter()
                    .map(|a| format!("{}:{}", a.kind.title(), a.name.as_deref().unwrap_or("*")))
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        };
        assert_eq!(read(&["po"]).as_deref(), Ok("pod:*"));
        assert_eq!(read(&["po", "a", "b"]).as_deref(), Ok("pod:a pod:b"));
        assert_eq!(read(&["po/a", "deploy/b"]).as_deref(), Ok("pod:a deployment.apps:b"));
        assert!(read(&["po/a", "b"]).is_err_and(|e| e.contains("KIND/NAME")));
    }

    #[test]
    fn paths() {
        let all = catalogue().0;
        assert_eq!(all[0].path("d", "x"), "/api/v1/namespaces/d/pods/x");
        assert_eq!(all[1].path("d", "x"), "/api/v1/nodes/x");
        assert_eq!(all[2].list_path(None), "/apis/apps/v1/deployments");
    }
}

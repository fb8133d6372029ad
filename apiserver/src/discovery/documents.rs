//! Discovery in all its forms: one list of kinds, shown in three.

use base64::prelude::{BASE64_STANDARD, Engine};
use coracle_api::kinds::Kinds;
use coracle_api::{Kind, KindRef};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::http::negotiation::{Media, Shape};
use crate::http::reply::Reply;

/// Upstream's order of groups in `/apis`, as far as they are served; others follow by name.
const ORDER: [&str; 13] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "coordination.k8s.io",
];

/// What can only be posted, and is kept nowhere: the old way to bind a pod.
const BINDINGS: &str = "bindings";

/// Every named group with its versions, the preferred first.
pub fn groups_and_versions(kinds: &Kinds) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for kind in kinds.rows().served().filter(|kind| !kind.group().is_empty()) {
        match groups.iter_mut().find(|(group, _)| *group == kind.group()) {
            Some((_, versions)) if versions.iter().any(|version| version == kind.version()) => {}
            Some((_, versions)) => versions.push(kind.version().into()),
            None => groups.push((kind.group().into(), vec![kind.version().into()])),
        }
    }
    let rank = |group: &str| ORDER.iter().position(|g| *g == group).unwrap_or(ORDER.len());
    groups.sort_by_cached_key(|(group, _)| (rank(group), group.clone()));
    groups
}

/// `/api`.
pub fn core_versions(kinds: &Kinds, media: &Media) -> Reply {
    if let Shape::Discovery(version) = &media.shape {
        return aggregated(kinds, &[(String::new(), vec!["v1".into()])], version);
    }
    let document = json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}],
    });
    Reply::value(200, &document, media)
}

/// `/apis`.
pub fn groups(kinds: &Kinds, media: &Media) -> Reply {
    let groups = groups_and_versions(kinds);
    if let Shape::Discovery(version) = &media.shape {
        return aggregated(kinds, &groups, version);
    }
    let list: Vec<Value> =
        groups.iter().map(|(group, versions)| Value::Object(group_document(group, versions))).collect();
    Reply::value(200, &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list}), media)
}

/// `/apis/GROUP`.
pub fn group(kinds: &Kinds, name: &str, media: &Media) -> Reply {
    let groups = groups_and_versions(kinds);
    let Some((group, versions)) = groups.iter().find(|(group, _)| *group == name) else {
        return Reply::no_page();
    };
    let mut document = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let Some(map) = document.as_object_mut() {
        map.extend(group_document(group, versions));
    }
    Reply::value(200, &document, media)
}

fn group_document(group: &str, versions: &[String]) -> Map<String, Value> {
    let version =
        |version: &String| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let mut map = Map::new();
    map.insert("name".into(), group.into());
    map.insert("versions".into(), versions.iter().map(version).collect());
    map.insert("preferredVersion".into(), versions.first().map_or(Value::Null, version));
    map
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub fn resources(kinds: &Kinds, group: &str, version: &str, media: &Media) -> Reply {
    let mut list: Vec<(String, Value)> = Vec::new();
    for kind in of(kinds, group, version) {
        let mut row = json!({
            "name": kind.plural(),
            "singularName": kind.singular(),
            "namespaced": kind.namespaced,
            "kind": kind.kind(),
            "verbs": kind.verbs,
        });
        words(kind.short_names(), "shortNames", &mut row);
        words(kind.categories(), "categories", &mut row);
        row["storageVersionHash"] = storage_version_hash(&kind).into();
        list.push((kind.plural().into(), row));
        for sub in &*kind.subresources {
            let name = format!("{}/{}", kind.plural(), sub.name);
            let mut row = json!({"name": name, "singularName": "", "namespaced": kind.namespaced});
            let shown = sub.gvk.map_or(kind.kind(), |(_, _, kind)| kind);
            if let Some((g, v, _)) = sub.gvk.filter(|(g, v, _)| (*g, *v) != (kind.group(), kind.version())) {
                row["group"] = g.into();
                row["version"] = v.into();
            }
            row["kind"] = shown.into();
            row["verbs"] = sub.verbs.into();
            list.push((name, row));
        }
    }
    if (group, version) == ("", "v1") {
        list.push((
            BINDINGS.into(),
            json!({"name": BINDINGS, "singularName": "binding", "namespaced": true, "kind": "Binding", "verbs": ["create"]}),
        ));
    }
    list.sort_by(|a, b| a.0.cmp(&b.0));
    let mut document = json!({"kind": "APIResourceList"});
    // The core group's list has never had this.
    if !group.is_empty() {
        document["apiVersion"] = "v1".into();
    }
    let name = if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
    document["groupVersion"] = name.into();
    document["resources"] = list.into_iter().map(|(_, row)| row).collect();
    Reply::value(200, &document, media)
}

/// Tells clients when objects come to be kept in another form, and that two resources are kept as the same objects.
///
/// Source: `StorageVersionHash` in `staging/src/k8s.io/apiserver/pkg/endpoints/discovery/storageversionhash.go`.
fn storage_version_hash(kind: &Kind) -> String {
    let kept = kind.view.map_or(kind, |view| view.of);
    let name = format!("{}/{}/{}", kept.group(), kept.version(), kept.kind());
    BASE64_STANDARD.encode(&Sha256::digest(name.as_bytes())[..8])
}

/// Lists words under a name, if there are any.
fn words<'a>(words: impl Iterator<Item = &'a str>, name: &str, row: &mut Value) {
    let words: Vec<&str> = words.collect();
    if !words.is_empty() {
        row[name] = words.into();
    }
}

fn of(kinds: &Kinds, group: &str, version: &str) -> Vec<KindRef> {
    let rows = kinds.rows();
    rows.served().filter(|kind| kind.group() == group && kind.version() == version).cloned().collect()
}

fn aggregated(kinds: &Kinds, groups: &[(String, Vec<String>)], form: &str) -> Reply {
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let mut rows = of(kinds, group, version);
                    rows.sort_by(|a, b| a.plural().cmp(b.plural()));
                    let mut rows: Vec<Value> = rows.iter().map(|kind| aggregated_row(kind)).collect();
                    if (group.as_str(), version.as_str()) == ("", "v1") {
                        rows.insert(
                            0,
                            json!({
                                "resource": BINDINGS,
                                "responseKind": {"group": "", "version": "", "kind": "Binding"},
                                "scope": "Namespaced",
                                "singularResource": "binding",
                                "verbs": ["create"],
                            }),
                        );
                    }
                    json!({"version": version, "resources": rows, "freshness": "Current"})
                })
                .collect();
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{form}"),
        "metadata": {},
        "items": items,
    });
    let reply = Reply::value(200, &document, &Media::JSON);
    let content_type = format!("application/json;g=apidiscovery.k8s.io;v={form};as=APIGroupDiscoveryList");
    Reply { content_type, ..reply }
}

fn aggregated_row(kind: &Kind) -> Value {
    // Where group and version are the resource's own, upstream leaves them empty.
    let own = |name: &str| json!({"group": "", "version": "", "kind": name});
    let mut row = json!({
        "resource": kind.plural(),
        "responseKind": own(kind.kind()),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular(),
        "verbs": kind.verbs,
    });
    words(kind.short_names(), "shortNames", &mut row);
    words(kind.categories(), "categories", &mut row);
    let subs: Vec<Value> = kind
        .subresources
        .iter()
        .map(|sub| {
            let shown = match sub.gvk {
                Some((g, v, k)) if (g, v) != (kind.group(), kind.version()) => {
                    json!({"group": g, "version": v, "kind": k})
                }
                Some((_, _, k)) => own(k),
                None => own(kind.kind()),
            };
            json!({"subresource": sub.name, "responseKind": shown, "verbs": sub.verbs})
        })
        .collect();
    if !subs.is_empty() {
        row["subresources"] = subs.into();
    }
    row
}

#[cfg(test)]
mod tests {
    use coracle_api::kinds;

    use super::*;

    #[tokio::test]
    async fn hashes_are_upstreams_and_a_view_has_that_of_what_is_kept() {
        let cases = [
            (&kinds::POD, "xPOwRZ+Yhw8="),
            (&kinds::DEPLOYMENT, "8aSe+NMegvE="),
            (&kinds::EVENT, "r2yiGXH7wu8="),
            (&kinds::EVENT_V1, "r2yiGXH7wu8="),
        ];
        for (kind, expected) in cases {
            assert_eq!(storage_version_hash(kind), expected, "case: {kind:?}");
            let list = resources(&Kinds::default(), kind.group(), kind.version(), &Media::JSON);
            let list = axum::body::to_bytes(list.body, usize::MAX).await.unwrap();
            let list: Value = serde_json::from_slice(&list).unwrap();
            for row in list["resources"].as_array().unwrap() {
                let is_kept = row["name"] != BINDINGS && !row["name"].as_str().unwrap().contains('/');
                assert_eq!(row.get("storageVersionHash").is_some(), is_kept, "{row}");
                if row["name"] == kind.plural() {
                    assert_eq!(row["storageVersionHash"], expected, "case: {kind:?}");
                }
            }
        }
    }
}

//! Parameters of paths and queries.

use serde_json::{Value, json};

fn query(name: &str, kind: &str) -> Value {
    json!({"name": name, "in": "query", "description": describe(name), "schema": {"type": kind, "uniqueItems": true}})
}

fn path(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "path", "description": description, "required": true, "schema": {"type": "string", "uniqueItems": true}})
}

/// Text, number or switch: what values of a parameter are.
fn kind_of(name: &str) -> &'static str {
    match name {
        "limit" | "timeoutSeconds" | "gracePeriodSeconds" | "limitBytes" | "sinceSeconds" | "tailLines"
        | "ports" => "integer",
        "allowWatchBookmarks"
        | "sendInitialEvents"
        | "watch"
        | "orphanDependents"
        | "force"
        | "follow"
        | "previous"
        | "timestamps"
        | "insecureSkipTLSVerifyBackend"
        | "stdin"
        | "stdout"
        | "stderr"
        | "tty"
        | "ignoreStoreReadErrorWithClusterBreakingPotential" => "boolean",
        _ => "string",
    }
}

fn describe(name: &str) -> &'static str {
    match name {
        "pretty" => "Print with indentation.",
        "dryRun" => "`All`: check and answer, but store nothing.",
        "fieldManager" => "Who comes to own the fields that this request sets.",
        "fieldValidation" => "What to do with unknown and repeated fields: `Ignore`, `Warn` or `Strict`.",
        "force" => "Take over fields that other managers own.",
        "labelSelector" => "Only objects whose labels match.",
        "fieldSelector" => "Only objects whose fields match.",
        "limit" => "The most items to answer at once.",
        "continue" => "Where to go on: the token of the previous answer.",
        "watch" => "Answer a stream of changes.",
        _ => "",
    }
}

fn queries(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| query(name, kind_of(name))).collect()
}

/// How lists are asked for.
const LIST: [&str; 10] = [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];

/// Parameters of a verb's query.
pub(super) fn of_verb(verb: &str) -> Vec<Value> {
    match verb {
        "list" => queries(&LIST),
        "post" | "put" => queries(&["dryRun", "fieldManager", "fieldValidation"]),
        "patch" => queries(&["dryRun", "fieldManager", "fieldValidation", "force"]),
        "delete" => queries(&[
            "dryRun",
            "gracePeriodSeconds",
            "ignoreStoreReadErrorWithClusterBreakingPotential",
            "orphanDependents",
            "propagationPolicy",
        ]),
        "deletecollection" => queries(&[
            "continue",
            "dryRun",
            "fieldSelector",
            "gracePeriodSeconds",
            "ignoreStoreReadErrorWithClusterBreakingPotential",
            "labelSelector",
            "limit",
            "orphanDependents",
            "propagationPolicy",
            "resourceVersion",
            "resourceVersionMatch",
            "sendInitialEvents",
            "timeoutSeconds",
        ]),
        _ => Vec::new(),
    }
}

/// Parameters of a path, sorted by name. A `GET` of all namespaces takes its queries from the path.
pub(super) fn of_path(name: Option<&str>, namespaced: bool, all_namespaces: bool) -> Vec<Value> {
    let mut all = Vec::new();
    if let Some(kind) = name {
        all.push(path("name", &format!("name of the {kind}")));
    }
    if namespaced {
        all.push(path("namespace", "object name and auth scope, such as for teams and projects"));
    }
    all.extend(queries(&["pretty"]));
    if all_namespaces {
        all.extend(queries(&LIST));
        all.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    }
    all
}

/// Parameters of the paths of subresources that take their options from the query instead of a body.
pub(super) fn of_subresource(name: &str, kind: &str, namespaced: bool) -> Option<Vec<Value>> {
    let own: &[&str] = match name {
        "attach" => &["container", "stderr", "stdin", "stdout", "tty"],
        "exec" => &["command", "container", "stderr", "stdin", "stdout", "tty"],
        "portforward" => &["ports"],
        "proxy" => &["path"],
        "log" => &[
            "container",
            "follow",
            "insecureSkipTLSVerifyBackend",
            "limitBytes",
            "pretty",
            "previous",
            "sinceSeconds",
            "stream",
            "tailLines",
            "timestamps",
        ],
        "binding" | "eviction" | "token" => &["dryRun", "fieldManager", "fieldValidation", "pretty"],
        _ => return None,
    };
    let mut all = queries(own);
    all.push(path("name", &format!("name of the {kind}")));
    if namespaced {
        all.push(path("namespace", "object name and auth scope, such as for teams and projects"));
    }
    all.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    Some(all)
}

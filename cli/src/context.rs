//! The user's kubeconfig: adding and removing our context, and leaving everything else as it was.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cluster::{Cluster, write_whole};

/// The file that kubectl writes to: the first of `$KUBECONFIG`, or `~/.kube/config`.
fn user_kubeconfig() -> Option<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG")
        && let Some(first) = std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty())
    {
        return Some(first);
    }
    Some(std::env::home_dir()?.join(".kube").join("config"))
}

fn read(path: &Path) -> Result<Option<Value>> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => serde_saphyr::from_str(&text)
            .map(Some)
            .with_context(|| format!("cannot read {}; it is left as it is", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn write(path: &Path, config: &Value) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    write_whole(path, serde_saphyr::to_string(config)?.as_bytes())
}

/// Adds (or renews) the cluster's context in the user's kubeconfig and makes it the current one. Returns the file.
///
/// # Errors
/// Either file cannot be read or written.
pub fn add(cluster: &Cluster) -> Result<Option<PathBuf>> {
    let Some(path) = user_kubeconfig() else { return Ok(None) };
    let Some(ours) = read(&cluster.kubeconfig())? else { return Ok(None) };
    let theirs = read(&path)?.unwrap_or_else(|| json!({"apiVersion": "v1", "kind": "Config"}));
    write(&path, &merge(theirs, &ours, &cluster.context()))?;
    Ok(Some(path))
}

/// Removes the cluster's context, cluster and user from the user's kubeconfig. `true` where there was something.
///
/// # Errors
/// The file cannot be read or written.
pub fn remove(cluster: &Cluster) -> Result<bool> {
    let Some(path) = user_kubeconfig() else { return Ok(false) };
    let Some(theirs) = read(&path)? else { return Ok(false) };
    let without = strip(theirs.clone(), &cluster.context());
    if without == theirs {
        return Ok(false);
    }
    write(&path, &without)?;
    Ok(true)
}

const LISTS: [&str; 3] = ["clusters", "contexts", "users"];

fn merge(theirs: Value, ours: &Value, context: &str) -> Value {
    let mut merged = strip(theirs, context);
    for list in LISTS {
        let Some(entry) = ours[list].get(0) else { continue };
        let mut entry = entry.clone();
        entry["name"] = json!(context);
        if list == "contexts" {
            entry["context"]["cluster"] = json!(context);
            entry["context"]["user"] = json!(context);
        }
        match merged[list].as_array_mut() {
            Some(entries) => entries.push(entry),
            None => merged[list] = json!([entry]),
        }
    }
    merged["current-context"] = json!(context);
    merged
}

fn strip(mut config: Value, context: &str) -> Value {
    for list in LISTS {
        if let Some(entries) = config.get_mut(list).and_then(Value::as_array_mut) {
            entries.retain(|entry| entry["name"] != context);
        }
    }
    if config["current-context"] == context {
        config["current-context"] = json!("");
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_and_removing_leaves_the_rest_alone() {
        let theirs = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "work", "preferences": {},
            "clusters": [{"name": "work", "cluster": {"server": "https://w"}}],
            "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me"}}],
            "users": [{"name": "me", "user": {}}],
        });
        let ours = json!({
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            "users": [{"name": "c", "user": {"token": "t"}}],
        });
        let merged = merge(theirs.clone(), &ours, "coracle-x");
        assert_eq!(merged["current-context"], "coracle-x");
        assert_eq!(merged["contexts"][1]["context"], json!({"cluster": "coracle-x", "user": "coracle-x"}));
        assert_eq!(merge(merged.clone(), &ours, "coracle-x"), merged, "adding twice changes nothing");
        let mut expected = theirs;
        expected["current-context"] = json!("");
        assert_eq!(strip(merged, "coracle-x"), expected);
    }

    #[test]
    fn an_empty_kubeconfig_gains_all_lists() {
        let ours =
            json!({"clusters": [{"name": "c"}], "contexts": [{"name": "c"}], "users": [{"name": "c"}]});
        let merged = merge(json!({"clusters": null}), &ours, "coracle-x");
        for list in LISTS {
            assert_eq!(merged[list][0]["name"], "coracle-x", "list: {list}");
        }
    }
}

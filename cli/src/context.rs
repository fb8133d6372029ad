//! The user's kubeconfig: adding and removing our context, and leaving everything else as it was.
//!
//! The context that was current before ours is kept in ours, as an extension, which is what kubeconfigs have for such
//! notes: so it is known again when ours goes, whatever became of the cluster's folder.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
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
    // Where the file is a link (to a folder of dotfiles, say), what it points to is written and the link stays.
    let target = match std::fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error).with_context(|| format!("cannot follow {}", path.display())),
    };
    write_whole(&target, serde_saphyr::to_string(config)?.as_bytes())
}

/// How long others may take to change the file: kubectl and other clusters' commands hold it for milliseconds.
const LOCK_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether they are done. A file that goes away wakes nobody.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The lock of a kubeconfig: the file beside it that kubectl makes, too, while it changes the kubeconfig.
///
/// Source: `lockFile` in `k8s.io/client-go/tools/clientcmd/loader.go`.
struct Lock(PathBuf);

impl Lock {
    fn take(kubeconfig: &Path, within: Duration) -> Result<Lock> {
        if let Some(folder) = kubeconfig.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut path = OsString::from(kubeconfig);
        path.push(".lock");
        let path = PathBuf::from(path);
        let deadline = Instant::now() + within;
        loop {
            match File::options().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    // For whoever finds it after this process was killed.
                    let _ = write!(file, "coracle, process {}", std::process::id());
                    return Ok(Lock(path));
                }
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("cannot lock {}", kubeconfig.display()));
                }
                Err(_) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
                Err(_) => {
                    // kubectl's own says nothing.
                    let who = std::fs::read_to_string(&path).unwrap_or_default();
                    let who = if who.is_empty() { "another program".into() } else { who };
                    bail!(
                        "{} is being changed by {who}; if that is not so, remove {}",
                        kubeconfig.display(),
                        path.display()
                    );
                }
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Changes a kubeconfig, while nobody else does.
fn change(path: &Path, within: Duration, change: impl FnOnce(Value) -> Value) -> Result<()> {
    let _lock = Lock::take(path, within)?;
    let theirs = read(path)?.unwrap_or_else(|| json!({"apiVersion": "v1", "kind": "Config"}));
    write(path, &change(theirs))
}

/// Whether a kubeconfig is the cluster's own, which its API server writes.
fn is_own(path: &Path, cluster: &Cluster) -> bool {
    let own = std::fs::canonicalize(cluster.kubeconfig());
    own.is_ok_and(|own| std::fs::canonicalize(path).is_ok_and(|path| path == own))
}

/// Adds (or renews) the cluster's context in the user's kubeconfig and makes it the current one. Returns the file.
///
/// # Errors
/// Either file cannot be read or written.
pub fn add(cluster: &Cluster) -> Result<Option<PathBuf>> {
    let Some(path) = user_kubeconfig() else { return Ok(None) };
    let Some(ours) = read(&cluster.kubeconfig())? else { return Ok(None) };
    if is_own(&path, cluster) {
        return Ok(None);
    }
    change(&path, LOCK_WITHIN, |theirs| merge(theirs, &ours, &cluster.context()))?;
    Ok(Some(path))
}

/// Removes the cluster's context, cluster and user from the user's kubeconfig. `true` where there was something.
///
/// # Errors
/// The file cannot be read or written.
pub fn remove(cluster: &Cluster) -> Result<bool> {
    let Some(path) = user_kubeconfig() else { return Ok(false) };
    if is_own(&path, cluster) {
        return Ok(false);
    }
    let Some(theirs) = read(&path)? else { return Ok(false) };
    if strip(theirs.clone(), &cluster.context()) == theirs {
        return Ok(false);
    }
    change(&path, LOCK_WITHIN, |theirs| strip(theirs, &cluster.context()))?;
    Ok(true)
}

const LISTS: [&str; 3] = ["clusters", "contexts", "users"];

/// The name of our note in a context.
const EXTENSION: &str = "coracle.dev";

/// The context that was current before this one of ours.
fn previous(config: &Value, context: &str) -> Option<String> {
    let entry = config["contexts"].as_array()?.iter().find(|entry| entry["name"] == context)?;
    let notes = entry["context"]["extensions"].as_array()?;
    let ours = notes.iter().find(|note| note["name"] == EXTENSION)?;
    ours["extension"]["previousContext"].as_str().map(str::to_owned)
}

fn has_context(config: &Value, context: &str) -> bool {
    config["contexts"].as_array().is_some_and(|all| all.iter().any(|entry| entry["name"] == context))
}

fn merge(theirs: Value, ours: &Value, context: &str) -> Value {
    let before = match theirs["current-context"].as_str() {
        Some(current) if current == context => previous(&theirs, context),
        current => current.map(str::to_owned),
    };
    let mut merged = strip(theirs, context);
    for list in LISTS {
        let Some(entry) = ours[list].get(0) else { continue };
        let mut entry = entry.clone();
        entry["name"] = json!(context);
        if list == "contexts" {
            entry["context"]["cluster"] = json!(context);
            entry["context"]["user"] = json!(context);
            if let Some(before) = before.as_ref().filter(|before| has_context(&merged, before)) {
                let note = json!({"name": EXTENSION, "extension": {"previousContext": before}});
                entry["context"]["extensions"] = json!([note]);
            }
        }
        match merged[list].as_array_mut() {
            Some(entries) => entries.push(entry),
            None => merged[list] = json!([entry]),
        }
    }
    merged["current-context"] = json!(context);
    merged
}

/// Without our context. The one before it is current again where ours was; where ours was the one before another of
/// ours, that one's takes its place.
fn strip(mut config: Value, context: &str) -> Value {
    let before = previous(&config, context).filter(|before| has_context(&config, before));
    for note in config["contexts"].as_array_mut().into_iter().flatten().flat_map(notes) {
        if note["extension"]["previousContext"] == context {
            note["extension"]["previousContext"] = json!(before);
        }
    }
    for list in LISTS {
        if let Some(entries) = config.get_mut(list).and_then(Value::as_array_mut) {
            entries.retain(|entry| entry["name"] != context);
        }
    }
    if config["current-context"] == context {
        config["current-context"] = json!(before.unwrap_or_default());
    }
    config
}

/// Our notes in a context.
fn notes(entry: &mut Value) -> impl Iterator<Item = &mut Value> {
    let all = entry.pointer_mut("/context/extensions").and_then(Value::as_array_mut);
    all.into_iter().flatten().filter(|note| note["name"] == EXTENSION)
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
        assert_eq!(merged["contexts"][1]["context"]["cluster"], "coracle-x");
        assert_eq!(merged["contexts"][1]["context"]["user"], "coracle-x");
        assert_eq!(merge(merged.clone(), &ours, "coracle-x"), merged, "adding twice changes nothing");
        assert_eq!(strip(merged.clone(), "coracle-x"), theirs, "the context before is current again");

        let both = merge(merged, &ours, "coracle-y");
        assert_eq!(strip(strip(both.clone(), "coracle-y"), "coracle-x"), theirs, "last in, first out");
        assert_eq!(strip(strip(both.clone(), "coracle-x"), "coracle-y"), theirs, "first in, first out");

        let mut elsewhere = both;
        elsewhere["current-context"] = json!("work");
        let mut without_work = strip(elsewhere.clone(), "work");
        without_work["current-context"] = json!("coracle-y");
        assert_eq!(strip(elsewhere, "coracle-x")["current-context"], "work", "what a person chose stays");
        let left = strip(strip(without_work, "coracle-x"), "coracle-y");
        assert_eq!(left["current-context"], "", "a context that is gone is not current again");
    }

    #[test]
    fn those_who_change_it_at_once_lose_nothing() {
        const CLUSTERS: usize = 8;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new").join("config");
        let each = |what: &(dyn Fn(Value, &str) -> Value + Sync)| {
            std::thread::scope(|scope| {
                for n in 0..CLUSTERS {
                    let path = &path;
                    scope.spawn(move || {
                        change(path, Duration::from_secs(60), |theirs| what(theirs, &format!("coracle-{n}")))
                    });
                }
            });
            read(&path).unwrap().unwrap()
        };
        let ours =
            json!({"clusters": [{"name": "c"}], "contexts": [{"name": "c"}], "users": [{"name": "c"}]});
        let all = each(&|theirs, context| merge(theirs, &ours, context));
        assert_eq!(LISTS.map(|list| all[list].as_array().unwrap().len()), [CLUSTERS; 3]);
        let none = each(&|theirs, context| strip(theirs, context));
        assert_eq!(LISTS.map(|list| none[list].as_array().unwrap().len()), [0; 3]);
        assert_eq!(none["current-context"], "");
        assert!(!dir.path().join("new").join("config.lock").exists());
    }

    #[test]
    fn whoever_holds_the_lock_is_waited_for_and_then_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let lock = dir.path().join("config.lock");
        for (held, named) in [("", "another program"), ("coracle, process 7", "coracle, process 7")] {
            std::fs::write(&lock, held).unwrap();
            let error = change(&path, Duration::ZERO, |theirs| theirs).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("config.lock"), "{error}");
            assert!(lock.exists() && !path.exists(), "what is another's stays");
        }
    }

    #[test]
    fn a_clusters_own_kubeconfig_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster { name: "x".into(), dir: dir.path().to_owned() };
        let elsewhere = dir.path().join("elsewhere");
        std::fs::write(cluster.kubeconfig(), "").unwrap();
        std::fs::write(&elsewhere, "").unwrap();
        assert!(is_own(&cluster.kubeconfig(), &cluster) && !is_own(&elsewhere, &cluster));
        std::os::unix::fs::symlink("kubeconfig", dir.path().join("link")).unwrap();
        assert!(is_own(&dir.path().join("link"), &cluster));
    }

    #[test]
    fn a_link_to_a_kubeconfig_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("dotfiles"), dir.path().join("config"));
        std::fs::write(&file, "apiVersion: v1\n").unwrap();
        std::os::unix::fs::symlink("dotfiles", &link).unwrap();
        write(&link, &json!({"kind": "Config"})).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(read(&file).unwrap(), Some(json!({"kind": "Config"})));
        write(&dir.path().join("new/config"), &json!({})).unwrap();
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

//! `coracle rollout`: the versions of a Deployment.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::Method;
use serde_json::{Value, json};

use crate::print::say;
use crate::print::table::{Table, WIDTH};
use crate::server::connection::{Connection, Target};
use crate::server::follow::One;
use crate::server::kinds::{Catalogue, one};
use crate::server::rest::{JSON_PATCH, MERGE, escape};
use crate::server::selector::select;

const REVISION: &str = "deployment.kubernetes.io/revision";
const CAUSE: &str = "kubernetes.io/change-cause";
const HASH: &str = "pod-template-hash";

/// Follow and steer the versions of a Deployment.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle rollout status deployment/web
  coracle rollout history deployment/web
  coracle rollout undo deployment/web --to-revision 2")]
pub struct Rollout {
    #[command(subcommand)]
    verb: Verb,
    /// The API server
    #[command(flatten)]
    pub target: Target,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Wait until the newest version runs
    #[command(after_help = "Example:\n  coracle rollout status deployment/web --timeout 2m")]
    Status {
        /// deployment/NAME
        #[arg(required = true)]
        what: Vec<String>,
        /// How long to wait
        #[arg(long, default_value = "10m", value_parser = crate::print::time::duration, value_name = "TIME")]
        timeout: Duration,
        /// Say how it stands, and do not wait
        #[arg(long)]
        once: bool,
    },
    /// Show the versions
    #[command(after_help = "Example:\n  coracle rollout history deployment/web")]
    History {
        /// deployment/NAME
        #[arg(required = true)]
        what: Vec<String>,
    },
    /// Go back to the version before, or to another
    #[command(after_help = "Examples:
  coracle rollout undo deployment/web
  coracle rollout undo deployment/web --to-revision 2")]
    Undo {
        /// deployment/NAME
        #[arg(required = true)]
        what: Vec<String>,
        /// Which version; 0 is the one before
        #[arg(long, default_value_t = 0)]
        to_revision: i64,
    },
    /// Let no new version roll out
    #[command(after_help = "Example:\n  coracle rollout pause deployment/web")]
    Pause {
        /// deployment/NAME
        #[arg(required = true)]
        what: Vec<String>,
    },
    /// Go on
    #[command(after_help = "Example:\n  coracle rollout resume deployment/web")]
    Resume {
        /// deployment/NAME
        #[arg(required = true)]
        what: Vec<String>,
    },
    /// Replace all pods, one after the other
    #[command(after_help = "Example:\n  coracle rollout restart deployment/web")]
    Restart {
        /// deployment/NAME
        #[arg(required = true)]
        what: Vec<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// The server says no, or the rollout does not end in time.
pub async fn run(args: Rollout, connection: &Connection) -> Result<()> {
    let catalogue = Catalogue::fetch(connection).await?;
    let (Verb::Status { what, .. }
    | Verb::History { what }
    | Verb::Undo { what, .. }
    | Verb::Pause { what }
    | Verb::Resume { what }
    | Verb::Restart { what }) = &args.verb;
    let (kind, name) = one(&catalogue, what)?;
    if kind.kind != "Deployment" {
        bail!("{} has no rollouts here; name a deployment", kind.title());
    }
    let path = kind.path(&connection.namespace, &name);
    let merge = async |patch: Value, done: &str| -> Result<()> {
        connection.send(Method::PATCH, &path, MERGE, &patch).await?;
        say!("deployment.apps/{name} {done}");
        Ok(())
    };
    match args.verb {
        Verb::Status { timeout, once, .. } => {
            let deployment = One { kind: &kind, namespace: &connection.namespace, name: &name };
            status(&deployment, timeout, once, connection).await
        }
        Verb::History { .. } => history(&path, &name, connection).await,
        Verb::Undo { to_revision, .. } => undo(&path, &name, to_revision, connection).await,
        Verb::Pause { .. } => merge(json!({ "spec": { "paused": true } }), "paused").await,
        Verb::Resume { .. } => merge(json!({ "spec": { "paused": null } }), "resumed").await,
        Verb::Restart { .. } => {
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let annotations = json!({ "kubectl.kubernetes.io/restartedAt": now });
            merge(
                json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } }),
                "restarted",
            )
            .await
        }
    }
}

async fn status(deployment: &One<'_>, timeout: Duration, once: bool, connection: &Connection) -> Result<()> {
    let name = deployment.name;
    let mut said = String::new();
    let what = format!("the rollout; `coracle describe deployment/{name}` may say why");
    deployment
        .until(connection, timeout, &what, |found| {
            let Some(found) = found else { bail!("there is no deployment {name:?}") };
            let (line, done) = progress(found)?;
            if line != said {
                say!("{line}");
                said = line;
            }
            Ok((done || once).then_some(()))
        })
        .await
}

/// How a rollout stands, in kubectl's words, and whether it is over.
fn progress(deployment: &Value) -> Result<(String, bool)> {
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let number = |field: &str| deployment["status"][field].as_i64().unwrap_or(0);
    if deployment["metadata"]["generation"].as_i64().unwrap_or(0) > number("observedGeneration") {
        return Ok(("Waiting for deployment spec update to be observed...".into(), false));
    }
    let mut conditions = deployment["status"]["conditions"].as_array().into_iter().flatten();
    if conditions.any(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded") {
        bail!(
            "deployment {name:?} exceeded its progress deadline; `coracle rollout undo deployment/{name}` goes back"
        );
    }
    let want = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let (updated, all, available) =
        (number("updatedReplicas"), number("replicas"), number("availableReplicas"));
    let waiting =
        |text: String| Ok((format!("Waiting for deployment {name:?} rollout to finish: {text}..."), false));
    if updated < want {
        return waiting(format!("{updated} out of {want} new replicas have been updated"));
    }
    if all > updated {
        return waiting(format!("{} old replicas are pending termination", all - updated));
    }
    if available < updated {
        return waiting(format!("{available} of {updated} updated replicas are available"));
    }
    Ok((format!("deployment {name:?} successfully rolled out"), true))
}

/// The versions of a Deployment that are kept, the oldest first.
async fn versions(path: &str, connection: &Connection) -> Result<(Value, Vec<(i64, Value)>)> {
    let deployment = connection.get(path).await?;
    let labels = select(&deployment).unwrap_or_default();
    let sets = format!(
        "/apis/apps/v1/namespaces/{}/replicasets?labelSelector={}",
        connection.namespace,
        escape(&labels)
    );
    let list = connection.get(&sets).await?;
    let uid = &deployment["metadata"]["uid"];
    let owned = |set: &&Value| {
        let mut owners = set["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.any(|o| o["uid"] == *uid && o["controller"] == true)
    };
    let number = |set: &Value| set["metadata"]["annotations"][REVISION].as_str()?.parse().ok();
    let sets = list["items"].as_array().into_iter().flatten().filter(owned);
    let mut versions: Vec<(i64, Value)> = sets.filter_map(|set| Some((number(set)?, set.clone()))).collect();
    versions.sort_by_key(|(number, _)| *number);
    Ok((deployment, versions))
}

async fn history(path: &str, name: &str, connection: &Connection) -> Result<()> {
    let (_, versions) = versions(path, connection).await?;
    say!("deployment.apps/{name}");
    let mut table = Table::new(&["REVISION", "REPLICAS", "IMAGES", "CHANGE-CAUSE"]);
    for (number, set) in versions {
        let containers = set["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten();
        let images: Vec<&str> = containers.filter_map(|c| c["image"].as_str()).collect();
        table.row(vec![
            number.to_string(),
            set["status"]["replicas"].as_i64().unwrap_or(0).to_string(),
            images.join(","),
            set["metadata"]["annotations"][CAUSE].as_str().unwrap_or("<none>").into(),
        ]);
    }
    table.print(WIDTH);
    Ok(())
}

async fn undo(path: &str, name: &str, to: i64, connection: &Connection) -> Result<()> {
    let (deployment, versions) = versions(path, connection).await?;
    if deployment["spec"]["paused"] == true {
        bail!("deployment {name:?} is paused; `coracle rollout resume deployment/{name}` first");
    }
    let known = versions.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>().join(", ");
    let version = match to {
        0 => {
            versions.len().checked_sub(2).and_then(|i| versions.get(i)).context("no rollout history found")?
        }
        to => versions.iter().find(|(n, _)| *n == to).with_context(|| {
            format!("unable to find specified revision {to} in history; there are {known}")
        })?,
    };
    let mut template = version.1["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.shift_remove(HASH);
    }
    if template == deployment["spec"]["template"] {
        say!(
            "deployment.apps/{name} skipped rollback (current template already matches revision {})",
            version.0
        );
        return Ok(());
    }
    let patch = json!([{ "op": "replace", "path": "/spec/template", "value": template }]);
    connection.send(Method::PATCH, path, JSON_PATCH, &patch).await?;
    say!("deployment.apps/{name} rolled back");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_in_kubectls_words() {
        let deployment = |generation: i64, updated: i64, all: i64, available: i64| {
            json!({
                "metadata": { "name": "web", "generation": generation },
                "spec": { "replicas": 3 },
                "status": { "observedGeneration": 2, "updatedReplicas": updated, "replicas": all, "availableReplicas": available },
            })
        };
        let waiting = "Waiting for deployment \"web\" rollout to finish: ";
        let cases = [
            (
                deployment(3, 3, 3, 3),
                "Waiting for deployment spec update to be observed...".to_string(),
                false,
            ),
            (deployment(2, 1, 4, 3), format!("{waiting}1 out of 3 new replicas have been updated..."), false),
            (deployment(2, 3, 4, 3), format!("{waiting}1 old replicas are pending termination..."), false),
            (deployment(2, 3, 3, 2), format!("{waiting}2 of 3 updated replicas are available..."), false),
            (deployment(2, 3, 3, 3), "deployment \"web\" successfully rolled out".to_string(), true),
        ];
        for (deployment, line, done) in cases {
            assert_eq!(progress(&deployment).expect("no deadline"), (line, done));
        }
        let mut stuck = deployment(2, 1, 4, 3);
        stuck["status"]["conditions"] =
            json!([{ "type": "Progressing", "reason": "ProgressDeadlineExceeded" }]);
        assert!(progress(&stuck).is_err_and(|e| e.to_string().contains("rollout undo")));
    }
}

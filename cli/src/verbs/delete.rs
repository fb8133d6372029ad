//! `coracle delete`: deletes objects, and waits until they are gone.

use std::time::Duration;

use anyhow::{Result, bail};
use http::Method;
use serde_json::{Value, json};

use super::manifests;
use crate::print::say;
use crate::server::connection::{Connection, Target};
use crate::server::follow::One;
use crate::server::kinds::{Catalogue, Selected, Served, selected};
use crate::server::rest::{escape, is_refused};

/// Delete objects, and wait until they are gone.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle delete pod/web-0
  coracle delete -f examples/deployment.yaml
  coracle delete pods -l app=web --wait=false")]
pub struct Delete {
    /// What: KIND NAME..., KIND/NAME..., or KIND with -l or --all
    #[arg(value_name = "WHAT")]
    what: Vec<String>,
    /// The objects of a file, a folder, or standard input (-)
    #[arg(long = "filename", short = 'f', value_name = "FILE")]
    files: Vec<String>,
    /// Those with these labels
    #[arg(long, short = 'l', value_name = "LABELS")]
    selector: Option<String>,
    /// All of the kind in the namespace
    #[arg(long)]
    all: bool,
    /// Seconds that containers get to end; 0 asks nobody
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<i64>,
    /// What becomes of what the objects own: background, foreground or orphan
    #[arg(long, default_value = "background", value_parser = ["background", "foreground", "orphan"])]
    cascade: String,
    /// Return only when they are gone
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    wait: bool,
    /// Not finding an object is no error
    #[arg(long)]
    ignore_not_found: bool,
    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = crate::print::time::duration, value_name = "TIME")]
    timeout: Duration,
    /// The API server
    #[command(flatten)]
    pub target: Target,
}

/// Runs the command.
///
/// # Errors
/// The server says no, or they are not gone in time.
pub async fn run(args: Delete, connection: &Connection) -> Result<()> {
    let catalogue = Catalogue::fetch(connection).await?;
    let mut gone = Vec::new();
    for (kind, namespace, name) in targets(&args, &catalogue, connection).await? {
        let path = kind.path(&namespace, &name);
        let mut options = json!({ "kind": "DeleteOptions", "apiVersion": "v1" });
        let mut cascade = args.cascade.clone();
        if let Some(first) = cascade.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        options["propagationPolicy"] = json!(cascade);
        if let Some(seconds) = args.grace_period {
            options["gracePeriodSeconds"] = json!(seconds);
        }
        match connection.send(Method::DELETE, &path, "application/json", &options).await {
            Ok((_, answer)) => {
                say!("{} {name:?} deleted", kind.title());
                let uid = answer["metadata"]["uid"].as_str().or(answer["details"]["uid"].as_str());
                gone.push((kind, namespace, name, uid.map(String::from)));
            }
            Err(error) if args.ignore_not_found && is_refused(&error, 404) => {}
            Err(error) => return Err(error),
        }
    }
    if gone.is_empty() {
        say!("No resources found");
    }
    if !args.wait {
        return Ok(());
    }
    let deadline = tokio::time::Instant::now() + args.timeout;
    for (kind, namespace, name, uid) in gone {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let one = One { kind: &kind, namespace: &namespace, name: &name };
        one.until(connection, left, &format!("{}/{name} to be gone", kind.title()), |found| {
            let same = |o: &Value| uid.as_deref().is_none_or(|uid| o["metadata"]["uid"] == uid);
            Ok((!found.is_some_and(same)).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Kind, namespace and name of everything that is to be deleted.
async fn targets(
    args: &Delete,
    catalogue: &Catalogue,
    connection: &Connection,
) -> Result<Vec<(Served, String, String)>> {
    let mut targets = Vec::new();
    if !args.files.is_empty() {
        for object in manifests::read(&args.files)?.iter().rev() {
            let text = |v: &Value| v.as_str().map(String::from);
            let Some(name) = text(&object["metadata"]["name"]) else {
                bail!("an object without metadata.name")
            };
            let namespace =
                text(&object["metadata"]["namespace"]).unwrap_or_else(|| connection.namespace.clone());
            targets.push((catalogue.of(object)?.clone(), namespace, name));
        }
        return Ok(targets);
    }
    if args.what.is_empty() {
        bail!("what is to go? For example: coracle delete pod/web-0, or coracle delete -f FILE");
    }
    for Selected { kind, name } in selected(catalogue, &args.what)? {
        match name {
            Some(name) => targets.push((kind, connection.namespace.clone(), name)),
            None if args.all || args.selector.is_some() => {
                let labels = args.selector.as_ref().map(|l| format!("?labelSelector={}", escape(l)));
                let path = kind.list_path(Some(&connection.namespace)) + &labels.unwrap_or_default();
                let list = connection.get(&path).await?;
                for item in list["items"].as_array().into_iter().flatten() {
                    let name = item["metadata"]["name"].as_str().unwrap_or_default().to_string();
                    targets.push((kind.clone(), connection.namespace.clone(), name));
                }
            }
            None => bail!("which {}? Name some, or say -l LABELS, or --all", kind.plural),
        }
    }
    Ok(targets)
}

//! `coracle apply`: server-side apply as the field manager `coracle`.

use anyhow::{Context, Result, bail};
use http::Method;
use serde_json::Value;

use super::manifests;
use crate::print::{remark, say};
use crate::server::connection::{Connection, Target};
use crate::server::kinds::Catalogue;
use crate::server::rest::{APPLY, is_refused};

/// Make objects as files say, or change them to be so.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle apply -f examples/deployment.yaml
  coracle apply -f manifests/              every .yaml, .yml and .json of a folder
  cat pod.yaml | coracle apply -f -")]
pub struct Apply {
    /// A file, a folder, or - for standard input
    #[arg(long = "filename", short = 'f', required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Take over fields that others manage
    #[arg(long)]
    force: bool,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The API server
    #[command(flatten)]
    pub target: Target,
}

/// Runs the command.
///
/// # Errors
/// A file cannot be read, or the server says no.
pub async fn run(args: Apply, connection: &Connection) -> Result<()> {
    let objects = manifests::read(&args.files)?;
    let catalogue = Catalogue::fetch(connection).await?;
    let mut failed = 0;
    for object in &objects {
        match apply(&args, object, &catalogue, connection).await {
            Ok(line) => say!("{line}{}", if args.dry_run { " (dry run)" } else { "" }),
            Err(error) if objects.len() == 1 => return Err(error),
            Err(error) => {
                remark!("coracle: {error:#}");
                failed += 1;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} objects were not applied", objects.len());
    }
    Ok(())
}

async fn apply(
    args: &Apply,
    object: &Value,
    catalogue: &Catalogue,
    connection: &Connection,
) -> Result<String> {
    let kind = catalogue.of(object)?;
    let name = object["metadata"]["name"].as_str().with_context(|| {
        format!("a {} without metadata.name; apply needs a name to find the object again", kind.kind)
    })?;
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(&connection.namespace);
    let path = kind.path(namespace, name);
    let before = connection.find(&path).await?;
    let query = format!(
        "?fieldManager=coracle&fieldValidation=Strict{}{}",
        if args.force { "&force=true" } else { "" },
        if args.dry_run { "&dryRun=All" } else { "" }
    );
    let title = format!("{}/{name}", kind.title());
    let (code, after) =
        connection.send(Method::PATCH, &format!("{path}{query}"), APPLY, object).await.map_err(|error| {
            if is_refused(&error, 409) {
                error.context(format!("{title}: others manage these fields; --force takes them over"))
            } else {
                error.context(title.clone())
            }
        })?;
    let revision = |o: &Value| o["metadata"]["resourceVersion"].clone();
    Ok(match before {
        _ if code == 201 => format!("{title} created"),
        None => format!("{title} created"),
        Some(before) if revision(&before) == revision(&after) => format!("{title} unchanged"),
        Some(_) => format!("{title} configured"),
    })
}

//! `coracle scale`: sets the replicas of a workload through its `/scale`.

use anyhow::Result;
use http::Method;
use serde_json::json;

use crate::print::say;
use crate::server::connection::{Connection, Target};
use crate::server::kinds::{Catalogue, one};
use crate::server::rest::MERGE;

/// Set how many replicas there are to be.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:
  coracle scale deployment/web --replicas 5")]
pub struct Scale {
    /// KIND/NAME, or KIND NAME
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<String>,
    /// How many
    #[arg(long, value_name = "N")]
    replicas: u32,
    /// The API server
    #[command(flatten)]
    pub target: Target,
}

/// Runs the command.
///
/// # Errors
/// The server says no.
pub async fn run(args: Scale, connection: &Connection) -> Result<()> {
    let catalogue = Catalogue::fetch(connection).await?;
    let (kind, name) = one(&catalogue, &args.what)?;
    let path = format!("{}/scale", kind.path(&connection.namespace, &name));
    let patch = json!({ "spec": { "replicas": args.replicas } });
    connection.send(Method::PATCH, &path, MERGE, &patch).await?;
    say!("{}/{name} scaled", kind.title());
    Ok(())
}

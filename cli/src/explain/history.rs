//! `coracle history`: every change of one object.

use anyhow::{Result, bail};

use super::changes::{Change, fetch};
use crate::print::say;
use crate::print::table::{Table, WIDTH};
use crate::report::human;
use crate::server::connection::{Connection, Target};
use crate::server::kinds::{Catalogue, one};
use crate::server::rest::escape;

/// Every change of an object: when, by whom, and because of what.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:
  coracle history deployment/web")]
pub struct History {
    /// KIND/NAME, or KIND NAME
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<String>,
    /// The API server
    #[command(flatten)]
    pub target: Target,
}

/// Runs the command.
///
/// # Errors
/// The server keeps no log, or knows no change of the object.
pub async fn run(args: History, connection: &Connection) -> Result<()> {
    let catalogue = Catalogue::fetch(connection).await?;
    let (kind, name) = one(&catalogue, &args.what)?;
    let scope =
        if kind.namespaced { format!("&namespace={}", escape(&connection.namespace)) } else { String::new() };
    let plural =
        if kind.group.is_empty() { kind.plural.clone() } else { format!("{}.{}", kind.plural, kind.group) };
    let log = fetch(connection, &format!("kind={}&name={}{scope}", escape(&plural), escape(&name))).await?;
    if log.items.is_empty() {
        bail!(
            "no change of {}/{name} is remembered; `coracle get {}` lists what there is",
            kind.title(),
            kind.plural
        );
    }
    for line in show(&log.items) {
        say!("{line}");
    }
    if log.items.first().is_some_and(|first| first.verb != "create") {
        say!("What happened to it up to revision {} is forgotten.", log.floor);
    }
    Ok(())
}

fn show(changes: &[Change]) -> Vec<String> {
    let mut table = Table::new(&["REVISION", "TIME", "AFTER", "WHO", "DID", "BECAUSE OF"]);
    let mut before: Option<&Change> = None;
    for change in changes {
        if before.is_none_or(|b| b.uid != change.uid) {
            before = None;
        }
        let after = before.and_then(|b| change.time.duration_since(b.time).try_into().ok()).map(human);
        table.row(vec![
            change.revision.to_string(),
            change.time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            after.unwrap_or_default(),
            change.actor.clone(),
            change.what_was_done().replace(&change.key.to_string(), "it"),
            change.causes.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
        ]);
        before = Some(change);
    }
    table.lines(WIDTH)
}

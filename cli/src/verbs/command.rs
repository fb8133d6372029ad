//! The verbs by name, and how each finds its API server.

use anyhow::Result;

use super::{apply, delete, describe, get, logs, rollout, scale, wait};
use crate::cluster::Selection;
use crate::explain::{history, trace, why};
use crate::server::connection::{Connection, Target};
use crate::server::rest::Refused;

/// What people ask of a cluster.
#[derive(Clone, Debug, clap::Subcommand)]
#[allow(missing_docs)]
pub enum Verb {
    Get(get::Get),
    Describe(describe::Describe),
    Apply(apply::Apply),
    Delete(delete::Delete),
    Logs(logs::Logs),
    Scale(scale::Scale),
    Rollout(rollout::Rollout),
    Wait(wait::Wait),
    Why(why::Why),
    Trace(trace::Trace),
    History(history::History),
}

impl Verb {
    fn target(&self) -> &Target {
        match self {
            Verb::Get(v) => &v.target,
            Verb::Describe(v) => &v.target,
            Verb::Apply(v) => &v.target,
            Verb::Delete(v) => &v.target,
            Verb::Logs(v) => &v.target,
            Verb::Scale(v) => &v.target,
            Verb::Rollout(v) => &v.target,
            Verb::Wait(v) => &v.target,
            Verb::Why(v) => &v.target,
            Verb::Trace(v) => &v.target,
            Verb::History(v) => &v.target,
        }
    }

    /// Runs the verb.
    ///
    /// # Errors
    /// What went wrong, for a person to read.
    pub async fn run(self, selection: &Selection) -> Result<()> {
        let connection = Connection::open(selection, self.target()).await?;
        self.with(&connection).await.map_err(hint)
    }

    async fn with(self, connection: &Connection) -> Result<()> {
        match self {
            Verb::Get(v) => get::run(v, connection).await,
            Verb::Describe(v) => describe::run(v, connection).await,
            Verb::Apply(v) => apply::run(v, connection).await,
            Verb::Delete(v) => delete::run(v, connection).await,
            Verb::Logs(v) => logs::run(v, connection).await,
            Verb::Scale(v) => scale::run(v, connection).await,
            Verb::Rollout(v) => rollout::run(v, connection).await,
            Verb::Wait(v) => wait::run(v, connection).await,
            Verb::Why(v) => why::run(v, connection).await,
            Verb::Trace(v) => trace::run(v, connection).await,
            Verb::History(v) => history::run(v, connection).await,
        }
    }
}

/// Who names what is not there is told how to see what is.
fn hint(error: anyhow::Error) -> anyhow::Error {
    let Some(refused) = error.downcast_ref::<Refused>().filter(|r| r.reason == "NotFound") else {
        return error;
    };
    // `pods "x" not found`; other things that are not found have no list.
    match refused.message.split_once(" \"") {
        Some((kind, _)) => anyhow::anyhow!("{error:#}; `coracle get {kind} -A` lists what there is"),
        None => error,
    }
}

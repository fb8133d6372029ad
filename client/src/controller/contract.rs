//! The shape that all controllers have.

use std::sync::Arc;

use coracle_api::Key;
use jiff::Timestamp;

use super::ctx::Ctx;
use super::plan::{Action, Plan, Refusal};
use super::wakes::Wakes;
use crate::Error;

/// A controller: what wakes it, what it looks at, and what it decides. It never acts: the runner shows its plan to the gate,
/// as a whole, and then carries it out.
pub trait Controller: Send + Sync + Sized + 'static {
    /// Its name: in logs, in the change log, at the gate.
    const NAME: &'static str;
    /// The component in whose name it tells events, where upstream has another.
    const REPORTS_AS: &'static str = Self::NAME;
    /// How many keys it looks at at once.
    const WORKERS: usize = 1;

    /// All that `plan` may look at: one snapshot, never a live handle.
    type Observed: Send + Sync;

    /// Says which changes make it look at which keys. An event says where to look, never what to do.
    fn wakes(self: &Arc<Self>, wakes: Wakes) -> Wakes;

    /// Takes the snapshot for one key; `None` where there is nothing to decide, most often because the object is gone.
    fn observe(
        &self,
        ctx: &Ctx,
        key: &Key,
    ) -> impl Future<Output = Result<Option<Self::Observed>, Error>> + Send;

    /// Decides and does nothing else: same input, same output, and no actions once converged.
    fn plan(observed: &Self::Observed, now: Timestamp) -> Plan;

    /// What else has to be done because actions were refused: most often a condition in the status. The run has failed all
    /// the same, and is repeated after a while.
    fn refused(_observed: &Self::Observed, _refusals: &[Refusal], _now: Timestamp) -> Vec<Action> {
        Vec::new()
    }
}

//! The trait of all links: what one may change of a write, and what it may refuse.

use async_trait::async_trait;
use coracle_api::Status;
use serde_json::Value;

use super::attributes::{Attributes, Extras};

/// One link. It implements what the lists that it stands in ask of it.
#[async_trait]
pub trait Link: Send + Sync {
    /// What upstream calls it, or would.
    fn name(&self) -> &'static str;

    /// Whether it adds changes to others' writes, which may then have to be tried again.
    fn writes_companions(&self) -> bool {
        false
    }

    /// Fills in or changes the object (null for a delete), or refuses it; says whether it has changed anything. May run again for the
    /// same write if somebody else wrote meanwhile.
    async fn mutate(
        &self,
        _asked: &Attributes<'_>,
        _object: &mut Value,
        _warnings: &mut Vec<String>,
    ) -> Result<bool, Status> {
        Ok(false)
    }

    /// Looks at what is about to be stored, and may refuse it. Every rule of the kind holds by then.
    async fn validate(
        &self,
        _asked: &Attributes<'_>,
        _object: &Value,
        _extras: &mut Extras,
    ) -> Result<(), Status> {
        Ok(())
    }
}

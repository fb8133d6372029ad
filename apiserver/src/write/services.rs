//! Addresses and ports of services, found before every write of one.

use coracle_api::kind::Exclusive;
use coracle_api::{Kind, Status};
use serde_json::Value;

use super::Registry;
use super::allocate::Refused;
use super::meta::text;

impl Registry {
    /// Gives a service what it needs, before it is validated. Other kinds pass. What is given is taken with the commit: until then
    /// another may take it, and this one has to be given something else.
    pub(super) fn allocate(
        &self,
        kind: &Kind,
        new: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<(), Status> {
        if kind.claims != Some(Exclusive::ServiceAddresses) {
            return Ok(());
        }
        let mut allocator = self.allocator.lock();
        let outcome = self.state.with_claims(|held| match old {
            None => allocator.create(new, held, dry_run),
            Some(old) => allocator.update(new, old, held, dry_run),
        });
        drop(allocator);
        outcome.map_err(|refused| match refused {
            Refused::Invalid(errors) => Status::invalid(kind, text(new, "name"), &errors),
            Refused::Full(why) => Status::internal(why),
        })
    }
}

//! Addresses and ports of services, handed out around every write of one.

use coracle_api::kind::Allocates;
use coracle_api::{Kind, Status};
use serde_json::Value;

use super::Registry;
use super::allocate::{Refused, Taken};
use super::meta::text;

impl Registry {
    /// Gives a service what it needs, before it is validated. Other kinds pass.
    pub(super) fn allocate(
        &self,
        kind: &Kind,
        new: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Option<Taken>, Status> {
        if kind.allocates != Some(Allocates::ServiceAddresses) {
            return Ok(None);
        }
        let mut all = self.allocations.lock();
        let outcome = match old {
            None => all.create(new, dry_run),
            Some(old) => all.update(new, old, dry_run),
        };
        drop(all);
        outcome.map(Some).map_err(|refused| match refused {
            Refused::Invalid(errors) => Status::invalid(kind, text(new, "name"), &errors),
            Refused::Full(why) => Status::internal(why),
        })
    }

    /// Takes back what a write took that came to nothing.
    pub(super) fn give_back(&self, taken: Option<Taken>) {
        if let Some(taken) = taken {
            self.allocations.lock().give_back(taken);
        }
    }

    /// After a change of a service: what it held before and no longer holds is free.
    pub(super) fn settle_service(&self, kind: &Kind, new: &Value, old: &Value) {
        if kind.allocates == Some(Allocates::ServiceAddresses) {
            self.allocations.lock().settle(new, old);
        }
    }

    /// After the end of a service: all that it held is free.
    pub(super) fn release_service(&self, kind: &Kind, old: &Value) {
        if kind.allocates == Some(Allocates::ServiceAddresses) {
            self.allocations.lock().release(old);
        }
    }
}

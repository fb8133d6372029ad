//! Where writes meet the chain of `admission`.

use std::sync::atomic::Ordering;

use coracle_api::{Key, KindRef, Status};
use serde_json::Value;

use super::Registry;
use super::operation::{Context, DeleteOptions};
use crate::admission::attributes::{Attributes, Extras, Operation};
use crate::admission::unserved;

impl Registry {
    /// What the chain is to know of a write.
    pub(super) fn asked<'a>(
        &'a self,
        context: &'a Context,
        operation: Operation,
        key: &'a Key,
        subresource: &'a str,
        old: &'a Value,
    ) -> Attributes<'a> {
        let (user, state) = (&context.user, &*self.state);
        Attributes { user, operation, key, subresource, old, context, delete: None, state }
    }

    /// The first half of the chain, for an object of a kind: what links have left open is filled in again.
    pub(super) async fn mutate(
        &self,
        asked: &Attributes<'_>,
        kind: &KindRef,
        object: &mut Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        if self.chain.mutate(asked, object, warnings).await? {
            kind.fill_in(object);
        }
        Ok(())
    }

    /// Both halves, for what is no object of the store: an eviction, a scale, a request for a token, what is to be
    /// deleted. What links change in it counts.
    pub(super) async fn admit(
        &self,
        asked: &Attributes<'_>,
        object: &mut Value,
        extras: &mut Extras,
    ) -> Result<(), Status> {
        self.chain.mutate(asked, object, &mut extras.warnings).await?;
        self.chain.validate(asked, object, extras).await
    }

    /// The chain for an object that is to be deleted.
    pub(super) async fn admit_delete(
        &self,
        context: &Context,
        key: &Key,
        old: &Value,
        options: &DeleteOptions,
        extras: &mut Extras,
    ) -> Result<(), Status> {
        let asked = self.asked(context, Operation::Delete, key, "", old);
        let asked = Attributes { delete: Some(options), ..asked };
        self.admit(&asked, &mut Value::Null, extras).await
    }

    /// The chain for a session with a container, before the node is asked for it. `options` is such as a `PodExecOptions`.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn admit_connection(
        &self,
        context: &Context,
        key: &Key,
        subresource: &str,
        mut options: Value,
    ) -> Result<(), Status> {
        let old = Value::Null;
        let asked = self.asked(context, Operation::Connect, key, subresource, &old);
        self.admit(&asked, &mut options, &mut Extras::default()).await
    }

    /// Texts for `Warning:` headers about an object that is accepted. (new, old if there is one)
    pub(super) fn warnings(&self, kind: &KindRef, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut texts = (kind.strategy.warnings)(kind, object, old);
        if self.has_agents.load(Ordering::Relaxed) {
            texts.extend(unserved::warnings(kind, object));
        }
        texts
    }
}

//! A write, from the moment it is asked for to its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use coracle_api::{Key, Status};

use super::operation::{Answer, Body, Context, Operation, Written};
use super::{Registry, stored};
use crate::large::{self, LARGE};

/// What the names of agents begin with.
const NODE_USER: &str = "system:node:";

impl Registry {
    /// Does one write and answers when it is on disk. Who drops the future does not get to know how the write ended; the write
    /// itself goes on to its end.
    pub async fn perform(self: &Arc<Self>, context: Context, operation: Operation) -> Answer {
        let (registry, user) = (self.clone(), context.user.clone());
        let large = self.is_large(&operation).then_some((&self.large, &*user));
        let write = async move { registry.perform_here(&context, operation).await };
        self.writes.run(large, write).await.unwrap_or_else(Answer::refused)
    }

    /// One write from its beginning to its end, in the caller's task.
    async fn perform_here(&self, context: &Context, operation: Operation) -> Answer {
        let mut warnings = Vec::new();
        if context.user.user.starts_with(NODE_USER) && !context.user.impersonated {
            self.has_agents.store(true, Ordering::Relaxed);
        }
        let again = self.store.is_shared().then(|| operation.clone());
        let mut result = self.dispatch(context, operation, &mut warnings).await;
        if let (Err(status), Some(operation)) = (&result, again)
            && matches!(status.code, 404 | 409)
            && self.catch_up().await
        {
            // What it was refused for may be what another server has changed long since.
            warnings.clear();
            result = self.dispatch(context, operation, &mut warnings).await;
        }
        Answer { result, warnings }
    }

    async fn dispatch(
        &self,
        context: &Context,
        operation: Operation,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        match operation {
            Operation::Create { kind, namespace, sub: None, body } => {
                self.create(context, &kind, &namespace, body, warnings).await
            }
            Operation::Create { kind, namespace, sub: Some((name, sub)), body } => {
                let key = Key::new(kind, namespace, name);
                match sub.as_str() {
                    "binding" => self.bind(context, &key, body, warnings).await,
                    "eviction" => self.evict(context, &key, body, warnings).await,
                    "token" => self.issue_token(context, &key, body, warnings).await,
                    _ => Err(Status::not_found(&key.kind, &key.name)),
                }
            }
            Operation::Update { key, sub, body } => {
                self.update(context, &key, sub.as_deref(), body, warnings).await
            }
            Operation::Patch { key, sub, form, body } => {
                self.patch(context, &key, sub.as_deref(), form, body, warnings).await
            }
            Operation::Delete { key, options } => self.delete(context, &key, &options, warnings).await,
        }
    }

    /// Whether a write keeps a processor for long: its own body counts, and the object that it changes. A delete brings nothing to
    /// decode, and must not wait for those who do: it is what makes room.
    fn is_large(&self, operation: &Operation) -> bool {
        let (key, body) = match operation {
            Operation::Create { body, .. } => (None, Some(body)),
            Operation::Update { key, body, .. } | Operation::Patch { key, body, .. } => {
                (Some(key), Some(body))
            }
            Operation::Delete { .. } => (None, None),
        };
        let written = match body {
            Some(Body::Bytes(_, bytes)) => bytes.len(),
            Some(Body::Tree(tree)) => large::size_of(tree),
            None => 0,
        };
        let stored = key.and_then(|key| self.get(&Key { kind: stored(&key.kind), ..key.clone() }));
        written + stored.map_or(0, |object| object.json.len()) >= LARGE
    }
}

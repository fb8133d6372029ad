//! Which object lives at which revision and who holds what, and the rule by which changes are numbered or refused. Pure: every store keeps one.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use coracle_api::{Key, Object, Revision};

use crate::entry::claims::{Claim, Claims};

use super::{Batch, Committed, Conflict, Expected, Outcome, Proposed, Verb};

/// Everything that lives. It shares the objects with whoever else holds them, so an entry costs little more than a pointer.
#[derive(Debug, Default)]
pub struct Ledger {
    lives: HashSet<ByKey>,
    claims: Claims,
    last: Revision,
}

/// Changes that are numbered but not yet durable: what the ledger becomes once they are.
#[derive(Debug)]
pub struct Draft<'a> {
    ledger: &'a Ledger,
    /// What the changes of the draft leave, by key; `None` for what they remove.
    left: HashMap<Key, Option<Revision>>,
    /// Who then holds what changed hands; `None` for what is free.
    claimed: HashMap<Claim, Option<Key>>,
    last: Revision,
    /// The changes, in order of revision.
    pub changes: Vec<Committed>,
}

impl Ledger {
    /// Nothing lives, and the next change follows this revision.
    pub fn empty(last: Revision) -> Ledger {
        Ledger { last, ..Ledger::default() }
    }

    /// Takes in a durable change.
    pub fn apply(&mut self, change: &Committed) {
        match change.verb {
            Verb::Delete => drop(self.lives.remove(&change.object.key)),
            // `insert` would keep the old object, which has the same key.
            Verb::Create | Verb::Update => drop(self.lives.replace(ByKey(change.object.clone()))),
        }
        if change.object.key.kind.claims.is_some() {
            self.claims.set(&change.object.key, change.claims());
        }
        self.last = self.last.max(change.object.revision);
    }

    /// Begins to number changes.
    pub fn draft(&self) -> Draft<'_> {
        let (left, claimed) = (HashMap::new(), HashMap::new());
        Draft { ledger: self, left, claimed, last: self.last, changes: Vec::new() }
    }

    /// The next change follows this revision, or a later one that is known.
    pub fn reach(&mut self, last: Revision) {
        self.last = self.last.max(last);
    }

    /// The revision of the last change.
    pub fn last(&self) -> Revision {
        self.last
    }

    fn revision_of(&self, key: &Key) -> Option<Revision> {
        self.lives.get(key).map(|ByKey(object)| object.revision)
    }
}

impl Draft<'_> {
    /// Checks and numbers a batch behind what the draft holds already. The outcomes are true once the draft is durable.
    ///
    /// # Errors
    /// The first condition that does not hold, for a batch whose changes are made together.
    pub fn add(&mut self, batch: Batch) -> Result<Vec<Outcome>, Conflict> {
        match batch {
            Batch::Each(changes) => {
                let own = self.changes.len();
                Ok(changes.into_iter().map(|change| self.add_one(change, own)).collect())
            }
            Batch::Together(changes) => {
                let (own, last) = (self.changes.len(), self.last);
                let before: Vec<_> =
                    changes.iter().map(|c| (c.key.clone(), self.left.get(&c.key).copied())).collect();
                let outcomes: Result<Vec<_>, Conflict> =
                    changes.into_iter().map(|change| self.add_one(change, own)).collect();
                if outcomes.is_err() {
                    self.changes.truncate(own);
                    self.last = last;
                    self.claim_again();
                    for (key, left) in before {
                        match left {
                            Some(left) => drop(self.left.insert(key, left)),
                            None => drop(self.left.remove(&key)),
                        }
                    }
                }
                Ok(outcomes?.into_iter().map(Ok).collect())
            }
        }
    }

    /// `own` is where the changes of the same batch begin.
    fn add_one(&mut self, change: Proposed, own: usize) -> Outcome {
        let found = self.left.get(&change.key).copied();
        let found = found.unwrap_or_else(|| self.ledger.revision_of(&change.key));
        let holds = match change.expected {
            Expected::Absent => found.is_none(),
            Expected::At(revision) => found == Some(revision),
            Expected::Earlier => self.changes[own..]
                .iter()
                .rev()
                .find(|earlier| earlier.object.key == change.key)
                .is_some_and(|earlier| found == Some(earlier.object.revision)),
        };
        if !holds {
            return Err(Conflict::Changed { key: change.key, expected: change.expected, found });
        }
        if let Some((claim, holder)) = self.held_by_another(&change) {
            return Err(Conflict::Held { key: change.key, claim, holder });
        }
        self.last.0 += 1;
        let change = change.numbered(self.last);
        let lives = (change.verb != Verb::Delete).then_some(self.last);
        self.left.insert(change.object.key.clone(), lives);
        let object = change.object.clone();
        self.claim(self.changes.len(), &change);
        self.changes.push(change);
        Ok(object)
    }

    /// The first thing that a change claims and another object holds.
    fn held_by_another(&self, change: &Proposed) -> Option<(Claim, Key)> {
        let claims = if change.verb == Verb::Delete { &[] } else { &*change.summary.claims };
        claims.iter().find_map(|claim| {
            let holder = match self.claimed.get(claim) {
                Some(holder) => holder.as_ref(),
                None => self.ledger.claims.holder(claim),
            };
            holder.filter(|holder| **holder != change.key).map(|holder| (claim.clone(), holder.clone()))
        })
    }

    /// Notes what a change gives up and what it takes. `before` changes of the draft come before it.
    fn claim(&mut self, before: usize, change: &Committed) {
        let key = &change.object.key;
        if key.kind.claims.is_none() {
            return;
        }
        let mut earlier = self.changes[..before].iter().rev();
        let had = match earlier.find(|earlier| earlier.object.key == *key) {
            Some(earlier) => earlier.claims(),
            None => self.ledger.claims.held_by(key).into(),
        };
        self.claimed.extend(had.iter().map(|claim| (claim.clone(), None)));
        self.claimed.extend(change.claims().iter().map(|claim| (claim.clone(), Some(key.clone()))));
    }

    /// The same for all changes, after some were taken back.
    fn claim_again(&mut self) {
        if self.claimed.is_empty() {
            return;
        }
        self.claimed.clear();
        for at in 0..self.changes.len() {
            let change = self.changes[at].clone();
            self.claim(at, &change);
        }
    }
}

/// An object that is found by its key.
#[derive(Debug)]
struct ByKey(Arc<Object>);

impl Borrow<Key> for ByKey {
    fn borrow(&self) -> &Key {
        &self.0.key
    }
}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &ByKey) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

//! How many sessions a node has at once, and whose.
//!
//! ```text
//!  session --> the user's share --> slots of all but the cluster's own --> all slots
//! ```
//!
//! Nobody is waited for: a session lasts as long as somebody wants it to. Who finds no slot is told so (429).

use std::collections::HashMap;

use coracle_api::Status;
use parking_lot::Mutex;

/// How many sessions an agent has at once; each holds a connection to the engine.
pub const MOST: usize = 256;
/// How many of these slots people and workloads may take. The rest is left for nodes and components.
const OTHERS: usize = 240;
/// How many may be one user's: enough to follow the logs of a full node (110 pods).
const SHARE: usize = 128;

/// The slots for sessions.
#[derive(Default)]
pub struct Slots(Mutex<Taken>);

/// How many slots are taken.
#[derive(Default)]
struct Taken {
    all: usize,
    others: usize,
    /// By each user who has some.
    of: HashMap<String, usize>,
}

/// One slot, until it is dropped.
pub struct Slot<'a> {
    slots: &'a Slots,
    user: String,
}

impl Slots {
    /// A slot for a user's session; an empty user is the cluster itself, which has no share.
    ///
    /// # Errors
    /// 429 where the user has too many sessions, or all together have.
    pub fn take(&self, user: &str, node: &str) -> Result<Slot<'_>, Status> {
        let mut taken = self.0.lock();
        let is_clusters = user.is_empty();
        let own = taken.of.get(user).copied().unwrap_or(0);
        if !is_clusters && own >= SHARE {
            return Err(refuse(format!(
                "user {user:?} has {own} sessions (logs, exec, attach) on node {node:?}, which is all that one user may \
                 have there: end one of them first"
            )));
        }
        let has_slot = if is_clusters { taken.all < MOST } else { taken.all < MOST && taken.others < OTHERS };
        if !has_slot {
            let all = taken.all;
            return Err(refuse(format!(
                "node {node:?} has {all} sessions (logs, exec, attach) and takes no more; try again later"
            )));
        }
        taken.all += 1;
        if !is_clusters {
            taken.others += 1;
            taken.of.insert(user.to_owned(), own + 1);
        }
        Ok(Slot { slots: self, user: user.to_owned() })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut taken = self.slots.0.lock();
        taken.all -= 1;
        if self.user.is_empty() {
            return;
        }
        taken.others -= 1;
        if let Some(own) = taken.of.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                taken.of.remove(&self.user);
            }
        }
    }
}

fn refuse(why: String) -> Status {
    Status::failure(429, "TooManyRequests", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_every_slot_and_what_ends_gives_its_slot_back() {
        let slots = Slots::default();
        let take = |user: &str| slots.take(user, "n1");
        let mut held: Vec<Slot<'_>> = (0..SHARE).map(|_| take("greedy").unwrap()).collect();
        let refused = take("greedy").err().unwrap();
        assert_eq!((refused.code, refused.reason.as_str()), (429, "TooManyRequests"));
        assert!(
            refused.message.contains("\"greedy\" has 128 sessions") && refused.message.contains("\"n1\"")
        );
        held.pop();
        held.push(take("greedy").expect("one has ended"));
        held.extend((SHARE..OTHERS).map(|_| take("other").expect("there are more slots than one share")));
        let full = take("third").err().unwrap();
        assert!(full.code == 429 && full.message.contains("node \"n1\" has 240 sessions"), "{full}");
        held.extend((OTHERS..MOST).map(|_| take("").expect("these are left for the cluster itself")));
        assert!(take("").is_err());
        drop(held);
        let taken = slots.0.lock();
        assert_eq!((taken.all, taken.others, taken.of.len()), (0, 0, 0));
    }
}

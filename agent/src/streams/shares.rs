//! How many sessions a node has at once, and whose.
//!
//! ```text
//!  session --> the user's share --> places of all but the cluster's own --> all places
//! ```
//!
//! Nobody is waited for: a session lasts as long as somebody wants it to. Who finds no place is told so (429).

use std::collections::HashMap;

use coracle_api::Status;
use parking_lot::Mutex;

/// How many sessions an agent has at once; each holds a connection to the engine.
pub const MOST: usize = 256;
/// How many of these places people and workloads may take. The rest is left for nodes and components.
const OTHERS: usize = 240;
/// How many may be one user's: enough to follow the logs of a full node (110 pods).
const SHARE: usize = 128;

/// The places for sessions.
#[derive(Default)]
pub struct Room(Mutex<Taken>);

/// How many places are taken.
#[derive(Default)]
struct Taken {
    all: usize,
    others: usize,
    /// By each user who has some.
    of: HashMap<String, usize>,
}

/// One place, until it is dropped.
pub struct Place<'a> {
    room: &'a Room,
    user: String,
}

impl Room {
    /// A place for a user's session; an empty user is the cluster itself, which has no share.
    ///
    /// # Errors
    /// 429 where the user has too many sessions, or all together have.
    pub fn take(&self, user: &str, node: &str) -> Result<Place<'_>, Status> {
        let mut taken = self.0.lock();
        let is_clusters = user.is_empty();
        let own = taken.of.get(user).copied().unwrap_or(0);
        if !is_clusters && own >= SHARE {
            return Err(refuse(format!(
                "user {user:?} has {own} sessions (logs, exec, attach) on node {node:?}, which is all that one user may \
                 have there: end one of them first"
            )));
        }
        let room = if is_clusters { taken.all < MOST } else { taken.all < MOST && taken.others < OTHERS };
        if !room {
            let all = taken.all;
            return Err(refuse(format!(
                "node {node:?} has {all} sessions (logs, exec, attach) and no place for another; try again later"
            )));
        }
        taken.all += 1;
        if !is_clusters {
            taken.others += 1;
            taken.of.insert(user.to_owned(), own + 1);
        }
        Ok(Place { room: self, user: user.to_owned() })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.room.0.lock();
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
    fn nobody_takes_every_place_and_what_ends_gives_its_place_back() {
        let room = Room::default();
        let take = |user: &str| room.take(user, "n1");
        let mut held: Vec<Place<'_>> = (0..SHARE).map(|_| take("greedy").ok().unwrap()).collect();
        let refused = take("greedy").err().unwrap();
        assert_eq!((refused.code, refused.reason.as_str()), (429, "TooManyRequests"));
        assert!(
            refused.message.contains("\"greedy\" has 128 sessions") && refused.message.contains("\"n1\"")
        );
        held.pop();
        held.push(take("greedy").ok().expect("one has ended"));
        held.extend(
            (SHARE..OTHERS).map(|_| take("other").ok().expect("there are more places than one share")),
        );
        let full = take("third").err().unwrap();
        assert!(full.code == 429 && full.message.contains("node \"n1\" has 240 sessions"), "{full}");
        held.extend((OTHERS..MOST).map(|_| take("").ok().expect("these are left for the cluster itself")));
        assert!(take("").is_err());
        drop(held);
        let taken = room.0.lock();
        assert_eq!((taken.all, taken.others, taken.of.len()), (0, 0, 0));
    }
}

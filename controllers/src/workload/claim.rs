//! A controller acts only on objects whose controller reference carries its object's uid. It adopts what matches its selector
//! and has no controller, and releases what no longer matches.

use std::sync::Arc;

use coracle_api::selector::Selector;
use coracle_client::{Action, Op, Typed};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::owner::{adoption, controller_of, controller_reference, release, uid};
use crate::labels;

/// The objects that are an owner's, once it has taken and dropped what it should.
pub struct Claimed<K> {
    /// They match, and are its own or about to be.
    pub mine: Vec<Arc<K>>,
    /// What takes and drops the others.
    pub actions: Vec<Action>,
}

/// Sorts objects into the owner's own and others'. `counts` leaves out those that it has no use for any more: they are
/// neither taken nor dropped.
pub fn claim_all<O: Typed, K: Typed>(
    owner: &O,
    selector: &Selector,
    objects: &[Arc<K>],
    counts: impl Fn(&K) -> bool,
) -> Claimed<K> {
    let meta = owner.metadata();
    let mut claimed = Claimed { mine: Vec::new(), actions: Vec::new() };
    for object in objects {
        let patch = |patch| Action::write(Op::merge(object.key(), patch));
        match claim(meta, object.metadata(), labels::matches(selector, object.metadata())) {
            Claim::Mine => claimed.mine.push(object.clone()),
            Claim::Adopt if counts(object) => {
                claimed.actions.push(patch(adoption(object.metadata(), &controller_reference(owner))));
                claimed.mine.push(object.clone());
            }
            Claim::Release if counts(object) => {
                claimed.actions.push(patch(release(object.metadata(), &[uid(meta)])));
            }
            Claim::Adopt | Claim::Release | Claim::Foreign => {}
        }
    }
    claimed
}

/// What an object is to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// Owned, and it matches.
    Mine,
    /// It matches and has no controller: take it.
    Adopt,
    /// Owned, but it no longer matches: let it go.
    Release,
    /// Not the owner's.
    Foreign,
}

/// What `object` is to `owner`, given whether the owner's selector matches it. Who is being deleted takes and drops nothing,
/// and nobody takes what is being deleted.
fn claim(owner: &ObjectMeta, object: &ObjectMeta, matches: bool) -> Claim {
    let leaving = owner.deletion_timestamp.is_some();
    match controller_of(object) {
        Some(controller) if controller.uid != uid(owner) => Claim::Foreign,
        Some(_) if matches => Claim::Mine,
        Some(_) if leaving => Claim::Foreign,
        Some(_) => Claim::Release,
        None if matches && !leaving && object.deletion_timestamp.is_none() => Claim::Adopt,
        None => Claim::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{owned_by, time};

    #[test]
    fn only_what_matches_and_nobody_controls_is_taken() {
        let owner = ObjectMeta { uid: Some("u1".into()), ..ObjectMeta::default() };
        let leaving = ObjectMeta { deletion_timestamp: Some(time(0)), ..owner.clone() };
        let orphan = ObjectMeta::default();
        let dying = ObjectMeta { deletion_timestamp: Some(time(0)), ..orphan.clone() };
        let cases = [
            ("own and matching", &owner, owned_by("u1"), true, Claim::Mine),
            ("own, relabelled", &owner, owned_by("u1"), false, Claim::Release),
            ("a namesake's", &owner, owned_by("u2"), true, Claim::Foreign),
            ("orphan that matches", &owner, orphan.clone(), true, Claim::Adopt),
            ("orphan that does not", &owner, orphan.clone(), false, Claim::Foreign),
            ("dying orphan", &owner, dying, true, Claim::Foreign),
            ("the leaving take nothing", &leaving, orphan, true, Claim::Foreign),
            ("the leaving drop nothing", &leaving, owned_by("u1"), false, Claim::Foreign),
            ("the leaving keep what is theirs", &leaving, owned_by("u1"), true, Claim::Mine),
        ];
        for (name, owner, object, matches, expected) in cases {
            assert_eq!(claim(owner, &object, matches), expected, "case: {name}");
        }
    }
}

//! What stands against an apply: fields that others own.

use super::managers::Owner;
use super::set::{self, Element, Set};
use crate::status::{Cause, Details, Status};

/// Fields that others own and that the configuration would change.
#[derive(Debug, Default)]
pub(super) struct Conflicts(pub(super) Vec<(Owner, Set)>);

/// The most bytes of paths and owners that one refusal tells of: what is told of a field repeats the keys of all that it is
/// in, and the name of its owner.
const CONFLICTS_TOLD: usize = 256 * 1024;

impl Conflicts {
    /// 409, with every contested field, as long as there is room.
    pub fn status(&self) -> Status {
        let mut room = CONFLICTS_TOLD;
        let (mut all, mut untold): (Vec<(String, String)>, usize) = (Vec::new(), 0);
        for (owner, fields) in &self.0 {
            let owner = described(owner);
            fields.visit(&mut |path| {
                let length =
                    owner.len() + path.iter().map(|element: &&Element| element.length()).sum::<usize>();
                match room.checked_sub(length) {
                    Some(left) => {
                        room = left;
                        all.push((owner.clone(), set::printed(path)));
                    }
                    None => untold += 1,
                }
            });
        }
        let cause = |(owner, path): &(String, String)| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {owner}"),
            field: path.clone(),
        };
        let count = all.len() + untold;
        if count > 1 {
            all.sort_by(|a, b| a.0.cmp(&b.0));
        }
        let causes = Details { causes: all.iter().map(cause).collect(), ..Details::default() };
        let message = match all.as_slice() {
            [(owner, path)] if count == 1 => {
                format!("Apply failed with 1 conflict: conflict with {owner}: {path}")
            }
            _ => {
                let mut lines: Vec<String> = Vec::new();
                let mut last = "";
                for (owner, path) in &all {
                    if owner != last {
                        lines.push(format!("conflicts with {owner}:"));
                        last = owner;
                    }
                    lines.push(format!("- {path}"));
                }
                if untold > 0 {
                    lines.push(format!("and {untold} more"));
                }
                format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
            }
        };
        Status::failure(409, "Conflict", message).with_details(causes)
    }
}

/// `"m1" with subresource "scale" using apps/v1`; only updaters are told with their version.
fn described(owner: &Owner) -> String {
    let mut text = format!("{:?}", owner.name);
    if !owner.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", owner.subresource));
    }
    if !owner.applies {
        text.push_str(&format!(" using {}", owner.api_version));
    }
    text
}

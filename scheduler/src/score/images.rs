//! Scores by images that need not be pulled.

use super::contract::{FULL, Score};
use crate::filter::Ask;
use crate::view::NodeView;

/// What pulling one image saves at most, in bytes: beyond this, more is not better. As upstream's
/// `maxContainerThreshold`.
const LARGE: i64 = 1000 * 1024 * 1024;

/// The more of the pod's images are there, the better; large ones count more.
pub struct ImagesPresent;

impl Score for ImagesPresent {
    fn score(&self, ask: &Ask<'_>, view: NodeView<'_>) -> i64 {
        let (wanted, have) = (&ask.pod.shape.images, &view.facts.images);
        if wanted.is_empty() || have.is_empty() {
            return 0;
        }
        let size = |name: &String| match have.get(name) {
            Some(size) => *size,
            // Without a tag, `:latest` is meant.
            None if !name.rsplit('/').next().unwrap_or(name).contains([':', '@']) => {
                have.get(&format!("{name}:latest")).copied().unwrap_or(0)
            }
            None => 0,
        };
        let saved: i128 = wanted.iter().map(|name| i128::from(size(name).clamp(0, LARGE))).sum();
        let most = i128::from(LARGE) * i128::try_from(wanted.len()).unwrap_or(1);
        i64::try_from(saved * i128::from(FULL) / most).unwrap_or(FULL)
    }
}

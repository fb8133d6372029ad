//! Paths of files in one volume: which of them lie in each other.

use std::collections::HashMap;

use super::limit::MOST_WARNINGS;

/// The most folders that are looked into to find what lies in one.
const MOST_FOLDERS: usize = 10 * MOST_WARNINGS;

/// The paths that were put into a volume so far, as a tree of their parts.
pub(super) struct Paths<'p> {
    folders: Vec<Folder<'p>>,
    /// How each path is shown.
    shown: Vec<String>,
}

#[derive(Default)]
struct Folder<'p> {
    below: HashMap<&'p str, usize>,
    /// The paths that end here, by their place in `shown`.
    here: Vec<usize>,
}

impl Default for Paths<'_> {
    fn default() -> Self {
        Paths { folders: vec![Folder::default()], shown: Vec::new() }
    }
}

impl<'p> Paths<'p> {
    /// The earlier paths that equal this one, lie in it or contain it, in order and as they are shown: at most
    /// [`MOST_WARNINGS`].
    pub(super) fn clashes(&self, path: &str) -> Vec<&str> {
        let mut found: Vec<usize> = Vec::new();
        let mut folder = &self.folders[0];
        let mut parts = path.split('/');
        let inside = loop {
            found.extend(&folder.here);
            let Some(part) = parts.next() else { break true };
            match folder.below.get(part) {
                Some(next) => folder = &self.folders[*next],
                None => break false,
            }
        };
        if inside {
            self.below(folder, &mut found);
        }
        found.sort_unstable();
        found.truncate(MOST_WARNINGS);
        found.into_iter().map(|at| self.shown[at].as_str()).collect()
    }

    /// The paths that lie in a folder. No more than [`MOST_FOLDERS`] are looked into: otherwise many paths above one
    /// large tree would each walk all of it.
    fn below(&self, folder: &Folder<'p>, found: &mut Vec<usize>) {
        let mut looked = 0;
        let mut left = vec![folder.below.values()];
        while let Some(next) = left.last_mut() {
            match next.next() {
                None => drop(left.pop()),
                Some(_) if found.len() >= MOST_WARNINGS || looked >= MOST_FOLDERS => return,
                Some(folder) => {
                    looked += 1;
                    found.extend(&self.folders[*folder].here);
                    left.push(self.folders[*folder].below.values());
                }
            }
        }
    }

    pub(super) fn add(&mut self, path: &'p str, shown: String) {
        let mut at = 0;
        for part in path.split('/') {
            let next = self.folders[at].below.get(part).copied();
            at = next.unwrap_or_else(|| {
                let new = self.folders.len();
                self.folders.push(Folder::default());
                self.folders[at].below.insert(part, new);
                new
            });
        }
        // More paths at one place than warnings are made need not be kept.
        if self.folders[at].here.len() < MOST_WARNINGS {
            self.folders[at].here.push(self.shown.len());
        }
        self.shown.push(shown);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inside(a: &str, b: &str) -> bool {
        a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'))
    }

    proptest! {
        /// The tree finds the clashes that comparing all pairs of paths finds.
        #[test]
        fn clashes_are_those_of_all_pairs(paths in prop::collection::vec("[ab/]{0,5}", 0..12)) {
            let mut tree = Paths::default();
            for (index, path) in paths.iter().enumerate() {
                let earlier = paths[..index].iter().filter(|old| inside(path, old) || inside(old, path));
                let expected: Vec<&str> = earlier.map(String::as_str).collect();
                prop_assert_eq!(tree.clashes(path), expected, "{:?}", &paths[..=index]);
                tree.add(path, path.clone());
            }
        }
    }
}

//! Profiles: which scores count, and how much.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::score::{SCORES, Score};

/// A named way to choose among the nodes that fit.
#[derive(Clone)]
pub struct Profile {
    /// `bin-pack`, `spread`, `balanced`, or a name from a configuration file.
    pub name: String,
    /// The scores that count, with their weights.
    pub scores: Vec<(&'static str, &'static dyn Score, i64)>,
}

/// What every profile respects, because the pod or the node asked for it.
const WISHES: [(&str, u32); 5] = [
    ("TaintToleration", 6),
    ("NodeAffinity", 4),
    ("PodTopologySpread", 4),
    ("InterPodAffinity", 4),
    ("ImageLocality", 1),
];

/// The profiles that need no file.
const BUILT_IN: [(&str, &[(&str, u32)]); 3] = [
    ("bin-pack", &[("Packed", 2)]),
    ("spread", &[("Free", 2), ("FewAlike", 2)]),
    ("balanced", &[("Balanced", 2), ("Free", 1)]),
];

impl Profile {
    /// One of the built-in profiles.
    pub fn named(name: &str) -> Option<Profile> {
        let (name, own) = BUILT_IN.iter().find(|(n, _)| *n == name)?;
        let weights = WISHES.iter().chain(*own).map(|(score, weight)| ((*score).to_string(), *weight));
        Profile::of(name, &weights.collect()).ok()
    }

    /// A profile from weights by score.
    ///
    /// # Errors
    /// A score that does not exist.
    pub fn of(name: &str, weights: &BTreeMap<String, u32>) -> Result<Profile, ConfigError> {
        for score in weights.keys() {
            if !SCORES.iter().any(|(known, _)| known == score) {
                let known = SCORES.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ");
                return Err(ConfigError::NoSuchScore { profile: name.into(), score: score.clone(), known });
            }
        }
        let weighed = SCORES.iter().filter_map(|(score, plugin)| {
            let weight = i64::from(*weights.get(*score)?);
            (weight > 0).then_some((*score, *plugin, weight))
        });
        Ok(Profile { name: name.into(), scores: weighed.collect() })
    }
}

impl Default for Profile {
    fn default() -> Profile {
        Profile::named("bin-pack").unwrap_or(Profile { name: String::new(), scores: Vec::new() })
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scores: Vec<_> = self.scores.iter().map(|(name, _, weight)| (*name, *weight)).collect();
        f.debug_struct("Profile").field("name", &self.name).field("scores", &scores).finish()
    }
}

/// The scheduler's settings. As a file (JSON, or YAML through the caller's reader):
///
/// ```json
/// { "profile": "tight", "profiles": { "tight": { "Packed": 3, "NodeAffinity": 1 } } }
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Whose pods to schedule: `spec.schedulerName`.
    pub scheduler_name: String,
    /// The profile in use, built in or below.
    pub profile: String,
    /// Further profiles: weights by score.
    pub profiles: BTreeMap<String, BTreeMap<String, u32>>,
    /// Breaks ties between equally good nodes. The same seed and the same events give the same decisions.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            scheduler_name: "default-scheduler".into(),
            profile: "bin-pack".into(),
            profiles: BTreeMap::new(),
            seed: 0,
        }
    }
}

impl Config {
    /// The profile in use.
    ///
    /// # Errors
    /// A profile or score that does not exist.
    pub fn chosen(&self) -> Result<Profile, ConfigError> {
        if let Some(weights) = self.profiles.get(&self.profile) {
            return Profile::of(&self.profile, weights);
        }
        Profile::named(&self.profile).ok_or_else(|| ConfigError::NoSuchProfile {
            profile: self.profile.clone(),
            known: BUILT_IN
                .iter()
                .map(|(n, _)| *n)
                .chain(self.profiles.keys().map(String::as_str))
                .collect::<Vec<_>>()
                .join(", "),
        })
    }
}

/// Settings that make no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The profile in use is nowhere described.
    #[error("no scheduler profile {profile:?}; there are {known}")]
    NoSuchProfile {
        /// What was asked for.
        profile: String,
        /// What there is.
        known: String,
    },
    /// A weight for a score that does not exist.
    #[error("profile {profile:?} weighs {score:?}, which is no score; there are {known}")]
    NoSuchScore {
        /// Where.
        profile: String,
        /// What was asked for.
        score: String,
        /// What there is.
        known: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_by_name_and_from_a_file() {
        let config = |text: &str| serde_json::from_str::<Config>(text).expect("settings");
        for name in ["bin-pack", "spread", "balanced"] {
            let profile = config(&format!("{{\"profile\":{name:?}}}")).chosen().expect("built in");
            assert_eq!(profile.name, name);
            assert!(profile.scores.len() > 5, "{profile:?}");
        }
        let own = config(r#"{"profile":"x","profiles":{"x":{"Packed":3,"Free":0}}}"#).chosen().expect("own");
        assert_eq!(format!("{own:?}"), r#"Profile { name: "x", scores: [("Packed", 3)] }"#);
        let wrong = config(r#"{"profile":"x","profiles":{"x":{"Pakced":3}}}"#).chosen();
        assert!(wrong.is_err_and(|e| e.to_string().contains("Packed, Free")));
        assert!(
            config(r#"{"profile":"y"}"#).chosen().is_err_and(|e| e.to_string().contains("bin-pack, spread"))
        );
    }
}

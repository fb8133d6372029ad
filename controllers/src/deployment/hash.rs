//! The hash that tells the versions of a Deployment apart: the value of `pod-template-hash` and the end of a ReplicaSet's name.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use sha2::{Digest, Sha256};

/// The label that carries the hash.
pub const LABEL: &str = "pod-template-hash";

/// Letters and digits without vowels and without those that look alike, so that no hash spells a word.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template. `collisions` counts the names that were already taken by others.
///
/// Only the Deployment that made a set compares templates, and it compares them whole; so the hash need not be upstream's, it
/// only has to stay the same: ten characters of the template's SHA-256, as JSON.
pub fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut hasher = Sha256::new();
    // A template is plain data, which always serialises.
    hasher.update(serde_json::to_vec(template).unwrap_or_default());
    if let Some(collisions) = collisions {
        hasher.update(collisions.to_le_bytes());
    }
    let digest = hasher.finalize();
    digest.iter().take(10).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A change of these values would roll every Deployment out anew that was made before it.
    #[test]
    fn hashes_stay_what_they_are() {
        let web = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}});
        let cases = [
            (json!({}), None, "szfcgw5fwv"),
            (json!({}), Some(1), "bn2q6h4t5l"),
            (web.clone(), None, "rnh2dhpqqw"),
            (web, Some(1), "gz54zqr4wg"),
        ];
        for (template, collisions, expected) in cases {
            let parsed: PodTemplateSpec = serde_json::from_value(template.clone()).expect("a template");
            assert_eq!(template_hash(&parsed, collisions), expected, "case: {template} {collisions:?}");
        }
    }

    #[test]
    fn a_hash_depends_on_template_and_collisions_alone() {
        let template = PodTemplateSpec::default();
        let first = template_hash(&template, None);
        assert_eq!(first.len(), 10);
        assert!(first.bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_ne!(first, template_hash(&template, Some(1)));
        assert_ne!(template_hash(&template, Some(2)), template_hash(&template, Some(1)));
    }
}

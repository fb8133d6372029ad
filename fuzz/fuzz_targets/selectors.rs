//! Label selectors, as text and as objects, and field selectors.
#![no_main]

use coracle_api::kinds::POD;
use coracle_api::selector::{FieldSelector, Selector, from_object};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Ok(selector) = Selector::parse(&text) {
        assert_eq!(
            Selector::parse(&selector.to_string()),
            Ok(selector),
            "what is printed parses to the same"
        );
    }
    let pod = serde_json::json!({"metadata": {"name": "x", "labels": {"a": "b"}}});
    if let Ok(selector) = FieldSelector::parse(&text).and_then(|selector| selector.for_kind(&POD)) {
        let _ = selector.matches(&POD, &pod);
    }
    if let Ok(object) = serde_json::from_str(&text)
        && let Ok(selector) = from_object(&object)
    {
        let _ = selector.matches(&pod["metadata"]["labels"]);
    }
});

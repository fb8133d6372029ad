//! Quantities: what is printed is read again to the same, and sums and orders hold together.
#![no_main]

use coracle_api::quantity::Quantity;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (left, right) = text.split_once(' ').unwrap_or((&text, "1"));
    let Ok(left) = left.parse::<Quantity>() else { return };
    let again: Quantity = left.to_string().parse().expect("what is printed is a quantity");
    assert_eq!(again.to_string(), left.to_string());
    assert!(again == left, "{text} is {left}");
    let (_, _) = (left.value(), left.milli_value());
    if let Ok(right) = right.parse::<Quantity>() {
        assert!(left.plus(&right) == right.plus(&left), "{text}");
        let _ = left.plus(&right).to_string();
    }
    let _ = left.in_resource_list().to_string();
});

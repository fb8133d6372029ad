//! Bodies in protobuf, of every kind.
#![no_main]

use coracle_api::decode::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((kind, body)) = coracle_fuzz::kind(data) {
        coracle_fuzz::read(&kind, Format::Protobuf, body);
    }
});

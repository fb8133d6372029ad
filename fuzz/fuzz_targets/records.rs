//! What a start reads from its folder: files of the log, and the records in them and in the base.
#![no_main]

use coracle_api::Revision;
use coracle_apiserver::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // As it is, as after damage; and as the body of a frame whose checksum is right.
    let file = fuzzing::log_file(Revision(7), data);
    assert!(fuzzing::holds_a_frame(&file), "a frame is found among other bytes");
    for bytes in [data, file.as_slice()] {
        let Ok(changes) = fuzzing::read_log(bytes) else { continue };
        let written = fuzzing::write_log(&changes);
        let again = fuzzing::read_log(&written).expect("what was written is read");
        assert_eq!(fuzzing::write_log(&again), written, "what is read is written as it was");
    }
    if let Ok((change, size)) = fuzzing::read_record(data) {
        let written = fuzzing::write_log(std::slice::from_ref(&change));
        let again = fuzzing::read_log(&written).expect("what was written is read");
        assert_eq!(again[0].object.json, change.object.json);
        assert!(size <= data.len() + 1, "a record and the end of its line");
    }
});

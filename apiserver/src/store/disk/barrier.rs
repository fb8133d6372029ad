//! The places in the store that wait for the disk.

/// Why something is synced: every place in the store that waits for the disk, and what a power cut would take without it.
/// A test leaves out one after the other and sees that acknowledged changes are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Barrier {
    /// A frame of the log, before its writers are answered. Without it: their changes.
    Frame,
    /// The folder of the log, before anything is written to a new file. Without it: the file, with all that was acknowledged
    /// from it.
    NewLogFile,
    /// The last frame that was found at a start, once it has been written again. The process before may have died without
    /// syncing it, or after a sync that failed. Without it: a frame that this process has shown and built upon.
    FoundFrame,
    /// The folder of the log, if it holds nothing but a file to which nothing was written yet: the process before may have died
    /// before it synced that. Without it: the file, with what this process adds to it.
    FoundLogFile,
    /// The base as it was found or made at a start. Without it: the mark that it is one.
    FoundBase,
    /// A base that the process before may not have been able to sync, once it has been written again. Without it: what that
    /// process folded, whose log this one then removes.
    RewrittenBase,
    /// The base, before the file of the log goes that was folded into it. Without it: the changes of that file.
    Folded,
    /// The data directory and those above it, at a start. Without it: the folder of the log, or all.
    DataDir,
}

impl Barrier {
    /// All of them.
    #[cfg(test)]
    pub const ALL: [Barrier; 8] = [
        Barrier::Frame,
        Barrier::NewLogFile,
        Barrier::FoundFrame,
        Barrier::FoundLogFile,
        Barrier::FoundBase,
        Barrier::RewrittenBase,
        Barrier::Folded,
        Barrier::DataDir,
    ];
}

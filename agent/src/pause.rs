//! What a sandbox runs: nothing, until it is asked to end.

/// Waits for a signal that asks it to end. Never answers otherwise.
///
/// # Errors
/// Signals cannot be heard.
pub fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // The first process of a process namespace inherits its orphans: hearing of them is enough for tokio to
        // collect those that it started, and the kernel collects the rest when the sandbox ends.
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        Ok(())
    })
}

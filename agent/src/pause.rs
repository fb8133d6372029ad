//! The program of a sandbox: it does nothing until it is asked to end.
//!
//! Where the containers of a pod share one process namespace, this is its process 1: a process that loses its
//! parent there becomes its child, and stays in the table of processes until this program has collected it.

use rustix::process::{WaitOptions, wait};

/// Waits for a signal that asks it to end, and collects orphans meanwhile. Never answers otherwise.
///
/// # Errors
/// Signals cannot be received.
pub fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut child = signal(SignalKind::child())?;
        loop {
            // Several ends may come as one signal: all that have ended are collected.
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
            tokio::select! {
                biased;
                _ = term.recv() => return Ok(()),
                _ = int.recv() => return Ok(()),
                _ = child.recv() => {}
            }
        }
    })
}

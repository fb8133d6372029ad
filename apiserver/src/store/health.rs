//! What the parts of a store know of their own health.

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Shared by all parts.
#[derive(Default)]
pub struct Health {
    troubles: Mutex<Troubles>,
    /// Once a part has come to its end by a panic.
    broken: CancellationToken,
}

#[derive(Clone, Default)]
struct Troubles {
    write: Option<String>,
    fold: Option<String>,
    broken: Option<String>,
}

impl Health {
    /// Whether all is well; the text tells every trouble.
    pub fn check(&self) -> Result<(), String> {
        let Troubles { write, fold, broken } = self.troubles.lock().clone();
        let all: Vec<String> = [broken, write, fold].into_iter().flatten().collect();
        if all.is_empty() { Ok(()) } else { Err(all.join("; ")) }
    }

    /// Whether the last write, or look, went well.
    pub fn can_write(&self) -> bool {
        self.troubles.lock().write.is_none()
    }

    /// Notes that writes go, or why they do not. Told once, where it begins and where it ends.
    pub fn set_write(&self, trouble: Option<String>) {
        let had = std::mem::replace(&mut self.troubles.lock().write, trouble.clone());
        match (had, trouble) {
            (None, Some(why)) => tracing::error!(why, "the store takes no writes for now"),
            (Some(_), None) => tracing::info!("the store takes writes again"),
            _ => {}
        }
    }

    /// Notes that the log is folded into the base, or why it is not.
    pub fn set_fold(&self, trouble: Option<String>) {
        let had = std::mem::replace(&mut self.troubles.lock().fold, trouble.clone());
        match (had, trouble) {
            // Nothing is lost: the log is longer than it should be, and it is tried again.
            (None, Some(why)) => tracing::error!(why, "the store cannot fold its log into its base for now"),
            (Some(_), None) => tracing::info!("the store folds its log again"),
            _ => {}
        }
    }

    /// Runs a part of the store, whose panic breaks all of it.
    pub fn watch_over(&self, part: &str, run: impl FnOnce()) {
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
            self.set_broken(part, &*panic);
        }
    }

    /// Notes that a part has panicked.
    pub fn set_broken(&self, part: &str, panic: &(dyn std::any::Any + Send)) {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        self.troubles.lock().broken = Some(format!("the store's {part} has panicked: {text}"));
        self.broken.cancel();
    }

    /// What has broken, if anything has.
    pub fn is_broken(&self) -> Option<String> {
        if self.broken.is_cancelled() { self.troubles.lock().broken.clone() } else { None }
    }

    /// Waits until something has.
    pub async fn broken(&self) -> String {
        self.broken.cancelled().await;
        self.is_broken().unwrap_or_default()
    }
}

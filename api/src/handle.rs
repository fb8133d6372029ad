//! A value that is part of the program, or one that was made while it ran: both are passed on by the same cheap handle.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Text that is part of the program, or that was made while it ran.
pub type Text = Cow<'static, str>;

/// A shared value. A clone of a built-in one costs a copied pointer, a clone of one made at run time a counted one, which
/// goes with its last handle.
///
/// Handles compare as their values do; two handles of one place are equal without looking.
pub enum Handle<T: 'static> {
    /// Part of the program.
    Static(&'static T),
    /// Made at run time.
    Shared(Arc<T>),
}

impl<T> Handle<T> {
    /// Whether both are handles of the very same value, not merely of equal ones.
    pub fn same_place(&self, other: &Handle<T>) -> bool {
        std::ptr::eq::<T>(&**self, &**other)
    }
}

impl<T> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Handle::Static(value) => value,
            Handle::Shared(value) => value,
        }
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Handle<T> {
        match self {
            Handle::Static(value) => Handle::Static(value),
            Handle::Shared(value) => Handle::Shared(value.clone()),
        }
    }
}

impl<T> From<&'static T> for Handle<T> {
    fn from(value: &'static T) -> Handle<T> {
        Handle::Static(value)
    }
}

impl<T> From<Arc<T>> for Handle<T> {
    fn from(value: Arc<T>) -> Handle<T> {
        Handle::Shared(value)
    }
}

impl<T> From<&Handle<T>> for Handle<T> {
    fn from(handle: &Handle<T>) -> Handle<T> {
        handle.clone()
    }
}

impl<T: PartialEq> PartialEq for Handle<T> {
    fn eq(&self, other: &Handle<T>) -> bool {
        self.same_place(other) || **self == **other
    }
}

impl<T: PartialEq> PartialEq<T> for Handle<T> {
    fn eq(&self, other: &T) -> bool {
        **self == *other
    }
}

impl<T: PartialEq> PartialEq<&T> for Handle<T> {
    fn eq(&self, other: &&T) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Handle<T> {}

impl<T: Ord> PartialOrd for Handle<T> {
    fn partial_cmp(&self, other: &Handle<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> Ord for Handle<T> {
    fn cmp(&self, other: &Handle<T>) -> Ordering {
        if self.same_place(other) { Ordering::Equal } else { (**self).cmp(&**other) }
    }
}

impl<T: Hash> Hash for Handle<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

/// So that a map by handles can be asked with the value itself.
impl<T> std::borrow::Borrow<T> for Handle<T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T> AsRef<T> for Handle<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: fmt::Debug> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_compare_by_value_and_free_what_nobody_holds() {
        static ONE: i32 = 1;
        let shared = Arc::new(1);
        let (built_in, made) = (Handle::from(&ONE), Handle::from(shared.clone()));
        assert_eq!(built_in, made);
        assert_eq!(made, ONE);
        assert!(Handle::from(Arc::new(2)) > built_in);
        assert_eq!(Arc::strong_count(&shared), 2);
        drop(made.clone());
        drop(made);
        assert_eq!(Arc::strong_count(&shared), 1, "the last handle has let go");
    }
}

//! The operators of label selectors.

/// How a label must stand to the values of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `a=b`
    Equals,
    /// `a==b`
    DoubleEquals,
    /// `a!=b`; also true where the label is missing.
    NotEquals,
    /// `a in (b,c)`
    In,
    /// `a notin (b,c)`; also true where the label is missing.
    NotIn,
    /// `a`
    Exists,
    /// `!a`
    DoesNotExist,
    /// `a>1`, as whole numbers.
    Greater,
    /// `a<1`, as whole numbers.
    Less,
}

//! What every command prints with: lines, tables, times. Nothing else in this crate writes to a terminal, so whatever is shown has
//! been made harmless for it.

use std::fmt::Arguments;
use std::io::{IsTerminal, Write as _};

/// Prints a line, as `println!` does, but does not panic where nobody reads any more.
macro_rules! say {
    ($($text:tt)*) => { $crate::print::print_line(format_args!($($text)*)) };
}
pub(crate) use say;

/// Prints a line beside what was asked for, as `eprintln!` does: warnings and failures.
macro_rules! remark {
    ($($text:tt)*) => { $crate::print::print_remark(format_args!($($text)*)) };
}
pub(crate) use remark;

pub mod table;
pub mod terminal;
pub mod time;

use terminal::harmless;

/// Prints a line. `coracle get pods | head -1` closes the pipe early: no fault, and nothing more to do.
pub(crate) fn print_line(text: Arguments<'_>) {
    if writeln!(std::io::stdout().lock(), "{}", harmless(&text.to_string())).is_err() {
        std::process::exit(0);
    }
}

/// Prints a document for people to look at and for programs to read: a program gets it as it is.
pub(crate) fn print_document(text: &str) {
    let mut out = std::io::stdout().lock();
    let shown = if out.is_terminal() { harmless(text) } else { text.into() };
    if writeln!(out, "{shown}").is_err() {
        std::process::exit(0);
    }
}

/// Prints a line to standard error. Where nobody reads that, nobody is to be told.
pub fn print_remark(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", harmless(&text.to_string()));
}

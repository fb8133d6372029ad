//! What every command prints with: lines, tables, times.

/// Prints a line, as `println!` does, but does not panic where nobody reads any more.
macro_rules! say {
    ($($text:tt)*) => { $crate::print::print_line(format_args!($($text)*)) };
}
pub(crate) use say;

pub mod table;
pub mod time;

/// Prints a line. `coracle get pods | head -1` closes the pipe early: no fault, and nothing more to do.
pub(crate) fn print_line(text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    if writeln!(std::io::stdout().lock(), "{text}").is_err() {
        std::process::exit(0);
    }
}

//! What people see while something happens: aligned lines, colours only on a terminal.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::print::terminal::harmless;

/// Prints progress to standard output.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    colours: bool,
}

impl Report {
    /// Colours where standard output is a terminal and `NO_COLOR` is not set.
    pub fn new() -> Report {
        Report { colours: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    fn paint(self, code: &str, text: impl Display) -> String {
        let text = text.to_string();
        let text = harmless(&text);
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into_owned() }
    }

    fn line(self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Nobody reads any more (a closed pipe): no reason to fail.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// A headline.
    pub fn title(self, text: impl Display) {
        self.line(&format!("\n{}", self.paint("1;36", text)));
    }

    /// Something went well.
    pub fn done(self, text: impl Display) {
        self.line(&format!("  {} {}", self.paint("32", "✓"), harmless(&text.to_string())));
    }

    /// Something went well, and how long it took.
    pub fn timed(self, text: impl Display, took: Duration) {
        let text = text.to_string();
        let took = self.paint("2", human(took));
        self.line(&format!("  {} {:<72} {took:>8}", self.paint("32", "✓"), harmless(&text)));
    }

    /// Something went wrong.
    pub fn failed(self, text: impl Display) {
        self.line(&format!("  {} {}", self.paint("31", "✗"), harmless(&text.to_string())));
    }

    /// A remark.
    pub fn note(self, text: impl Display) {
        self.line(&format!("    {}", self.paint("2", text)));
    }

    /// Plain text, indented.
    pub fn text(self, text: impl Display) {
        for line in text.to_string().lines() {
            self.line(&format!("    {}", harmless(line)));
        }
    }
}

impl Default for Report {
    fn default() -> Report {
        Report::new()
    }
}

/// `1 node`, `2 nodes`.
pub fn counted(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// `85 ms`, `1.2 s`, `2 min 5 s`.
pub fn human(took: Duration) -> String {
    match took.as_millis() {
        0..1000 => format!("{} ms", took.as_millis()),
        1000..60_000 => format!("{:.1} s", took.as_secs_f64()),
        _ => format!("{} min {} s", took.as_secs() / 60, took.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "network")), ["0 networks", "1 network", "2 networks"]);
    }

    #[test]
    fn durations_read_well() {
        for (millis, text) in [(85, "85 ms"), (1_234, "1.2 s"), (125_000, "2 min 5 s")] {
            assert_eq!(human(Duration::from_millis(millis)), text);
        }
    }
}

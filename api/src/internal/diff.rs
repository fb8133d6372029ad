//! What has changed between two texts, in the form of `diff -u`.

/// The lines that stand around a change.
const CONTEXT: usize = 3;
/// The most pairs of lines that are compared to find those that both texts share: 16 MiB of counters. More than two thousand
/// lines in which everything may have moved are shown as one change, all old lines before all new ones.
const MOST_PAIRS: usize = 4 * 1024 * 1024;

enum Line<'a> {
    Both(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// The changes between two texts, hunk by hunk, without the head that names the files; empty for equal texts.
///
/// ```
/// use coracle_api::internal::diff::unified;
/// assert_eq!(unified("a\nb\nc\n", "a\nB\nc\n"), "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
/// ```
pub fn unified(old: &str, new: &str) -> String {
    let lines = align(&old.lines().collect::<Vec<_>>(), &new.lines().collect::<Vec<_>>());
    let changed = |line: &Line| !matches!(line, Line::Both(_));
    let mut text = String::new();
    let (mut start, mut old_at, mut new_at) = (0, 1, 1);
    while let Some(first) = lines[start..].iter().position(changed).map(|i| start + i) {
        let mut last = first;
        for (i, line) in lines.iter().enumerate().skip(first) {
            if changed(line) {
                last = i;
            } else if i > last + 2 * CONTEXT {
                break;
            }
        }
        let from = first.saturating_sub(CONTEXT).max(start);
        let to = (last + CONTEXT + 1).min(lines.len());
        old_at += from - start;
        new_at += from - start;
        let (old_count, new_count) = hunk(&lines[from..to], old_at, new_at, &mut text);
        old_at += old_count;
        new_at += new_count;
        start = to;
    }
    text
}

fn hunk(lines: &[Line], old_at: usize, new_at: usize, text: &mut String) -> (usize, usize) {
    let old_count = lines.iter().filter(|line| !matches!(line, Line::New(_))).count();
    let new_count = lines.iter().filter(|line| !matches!(line, Line::Old(_))).count();
    let range = |at: usize, count: usize| match count {
        0 => format!("{},0", at - 1),
        1 => at.to_string(),
        _ => format!("{at},{count}"),
    };
    text.push_str(&format!("@@ -{} +{} @@\n", range(old_at, old_count), range(new_at, new_count)));
    for line in lines {
        let (mark, line) = match line {
            Line::Both(line) => (' ', line),
            Line::Old(line) => ('-', line),
            Line::New(line) => ('+', line),
        };
        text.push(mark);
        text.push_str(line);
        text.push('\n');
    }
    (old_count, new_count)
}

/// Both texts line by line, sharing as many lines as can be: the longest common subsequence of what is left between
/// equal beginnings and ends.
fn align<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let rest = (&old[head..], &new[head..]);
    let tail = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&rest.0[..rest.0.len() - tail], &rest.1[..rest.1.len() - tail]);
    let mut lines: Vec<Line> = old[..head].iter().map(|line| Line::Both(line)).collect();
    if a.len().saturating_mul(b.len()) > MOST_PAIRS {
        lines.extend(a.iter().map(|line| Line::Old(line)));
        lines.extend(b.iter().map(|line| Line::New(line)));
    } else {
        shared(a, b, &mut lines);
    }
    lines.extend(old[old.len() - tail..].iter().map(|line| Line::Both(line)));
    lines
}

/// Adds two lists of lines, those that they share once: a longest common subsequence.
fn shared<'a>(a: &[&'a str], b: &[&'a str], lines: &mut Vec<Line<'a>>) {
    // longest[i][j]: how many lines a[i..] and b[j..] can share.
    let mut longest = vec![vec![0u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i][j] = if a[i] == b[j] {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.push(Line::Both(a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && longest[i + 1][j] >= longest[i][j + 1]) {
            lines.push(Line::Old(a[i]));
            i += 1;
        } else {
            lines.push(Line::New(b[j]));
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(word: &str, count: usize) -> String {
        (0..count).map(|n| format!("{word} {n}\n")).collect()
    }

    #[test]
    fn small_changes_are_aligned_and_large_ones_told_as_one() {
        let (old, new) =
            (numbered("line", 30_000), numbered("line", 30_000).replace("line 9\n", "line nine\n"));
        assert_eq!(unified(&old, &new).lines().filter(|line| line.starts_with(['-', '+'])).count(), 2);
        let all = unified(&numbered("old", 3000), &numbered("new", 3000));
        assert!(all.starts_with("@@ -1,3000 +1,3000 @@\n-old 0\n"));
        assert_eq!((all.matches("\n-old").count(), all.matches("\n+new").count()), (3000, 3000));
    }
}

//! Cuts the text of a label selector into words.

use super::operator::Operator;

/// A word of a label selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word,
    /// A sign, or `in` and `notin`, which are words where a key or a value may stand.
    Operator(Operator),
    Not,
    Comma,
    Open,
    Closed,
    Error,
    End,
}

/// The words of `text` with their spelling, without blanks; the last one is always [`Token::End`].
pub(super) fn words(text: &str) -> Vec<(Token, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while let Some(first) = rest.chars().next() {
        let (token, length) = if is_sign(first) { sign(rest) } else { word(rest) };
        let (spelling, after) = rest.split_at(length);
        let spelling = match token {
            Token::Error => format!("error expected: keyword found '{spelling}'"),
            _ => spelling.to_owned(),
        };
        found.push((token, spelling));
        rest = after.trim_start_matches(is_blank);
    }
    found.push((Token::End, String::new()));
    found
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_sign(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn word(text: &str) -> (Token, usize) {
    let length = text.find(|c| is_blank(c) || is_sign(c)).unwrap_or(text.len());
    let token = match &text[..length] {
        "in" => Token::Operator(Operator::In),
        "notin" => Token::Operator(Operator::NotIn),
        _ => Token::Word,
    };
    (token, length)
}

/// Every sign; where one begins another, the longer one comes first.
const SIGNS: [(&str, Token); 9] = [
    ("==", Token::Operator(Operator::DoubleEquals)),
    ("!=", Token::Operator(Operator::NotEquals)),
    ("=", Token::Operator(Operator::Equals)),
    (">", Token::Operator(Operator::Greater)),
    ("<", Token::Operator(Operator::Less)),
    ("!", Token::Not),
    ("(", Token::Open),
    (")", Token::Closed),
    (",", Token::Comma),
];

fn sign(text: &str) -> (Token, usize) {
    let found = SIGNS.iter().find(|(sign, _)| text.starts_with(sign));
    found.map_or((Token::Error, 1), |(sign, token)| (*token, sign.len()))
}

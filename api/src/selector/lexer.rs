//! Cuts the text of a label selector into words.

/// A word of a label selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word,
    /// `in` and `notin`, which are words where a key or a value may stand.
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
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
        "in" => Token::In,
        "notin" => Token::NotIn,
        _ => Token::Word,
    };
    (token, length)
}

/// The longest sign that `text` starts with.
fn sign(text: &str) -> (Token, usize) {
    let two = text.get(..2).and_then(|signs| match signs {
        "==" => Some(Token::DoubleEquals),
        "!=" => Some(Token::NotEquals),
        _ => None,
    });
    if let Some(token) = two {
        return (token, 2);
    }
    let one = match text.as_bytes().first() {
        Some(b'=') => Token::Equals,
        Some(b'!') => Token::Not,
        Some(b'(') => Token::Open,
        Some(b')') => Token::Closed,
        Some(b',') => Token::Comma,
        Some(b'>') => Token::Greater,
        Some(b'<') => Token::Less,
        _ => Token::Error,
    };
    (one, 1)
}

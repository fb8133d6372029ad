//! Label selectors in full grammar: `a=b,c==d,e!=f,g in (h,i),j notin (k),l,!m,n>1,o<2`.
//!
//! Source: `k8s.io/apimachinery/pkg/labels/selector.go`, whose texts for what does not parse these are.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::lexer::{Token, words};
use super::operator::Operator;
use crate::field::{Errors, Path};
use crate::names;

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

/// Conditions that must all hold, sorted by key; none at all is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Selector {
    /// Selects every object.
    pub fn everything() -> Selector {
        Selector::default()
    }

    /// Selects no object.
    pub fn nothing() -> Selector {
        Selector { nothing: true, ..Selector::default() }
    }

    /// A selector of these requirements.
    pub fn new(mut requirements: Vec<Requirement>) -> Selector {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector { requirements, nothing: false }
    }

    /// Whether every object matches.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Whether an object with these labels (`metadata.labels`; null for none) is selected.
    pub fn matches(&self, labels: &Value) -> bool {
        self.matches_by(|key| labels.get(key).and_then(Value::as_str))
    }

    /// The same for labels that are looked up in another way.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(label(&r.key)))
    }

    /// Reads the text of a selector.
    ///
    /// # Errors
    /// Upstream's text for what does not parse.
    ///
    /// ```
    /// use coracle_api::selector::Selector;
    /// let selector = Selector::parse("app=web, tier notin (cache, db), !canary").unwrap();
    /// assert!(selector.matches(&serde_json::json!({"app": "web"})));
    /// assert!(!selector.matches(&serde_json::json!({"app": "web", "tier": "db"})));
    /// assert_eq!(Selector::parse("a==").unwrap().to_string(), "a==");
    /// assert_eq!(Selector::parse("a b").unwrap_err(), "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
    /// ```
    pub fn parse(text: &str) -> Result<Selector, String> {
        let words = words(text);
        Parser { words: &words }.selector().map(Selector::new)
    }
}

impl Requirement {
    /// A requirement, if its key and its values may be such.
    ///
    /// # Errors
    /// Upstream's text for the first fault, or for all in brackets.
    pub fn new(
        key: &str,
        operator: Operator,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Requirement, String> {
        let requirement = Requirement { key: key.into(), operator, values: values.into_iter().collect() };
        let mut errors = Errors::new();
        requirement.validate(&mut errors);
        let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        match texts.as_slice() {
            [] => Ok(requirement),
            [one] => Err(one.clone()),
            all => Err(format!("[{}]", all.join(", "))),
        }
    }

    fn validate(&self, errors: &mut Errors) {
        use Operator::*;
        let values = Path::root("values");
        if let Some(problems) = joined(names::qualified_name(&self.key)) {
            errors.invalid(&Path::root("key"), self.key.as_str(), &problems);
        }
        let count = self.values.len();
        let (right, detail) = match self.operator {
            In | NotIn => (count > 0, "for 'in', 'notin' operators, values set can't be empty"),
            Exists | DoesNotExist => (count == 0, "values set must be empty for exists and does not exist"),
            Equals | DoubleEquals | NotEquals => {
                (count == 1, "exact-match compatibility requires one single value")
            }
            Greater | Less => (count == 1, "for 'Gt', 'Lt' operators, exactly one value is required"),
        };
        if !right {
            errors.invalid(&values, self.values.iter().cloned().collect::<Vec<_>>(), detail);
        }
        for (index, value) in self.values.iter().enumerate() {
            if matches!(self.operator, Greater | Less) && value.parse::<i64>().is_err() {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.invalid(&values.index(index), value.as_str(), detail);
            }
        }
        for (index, value) in self.values.iter().enumerate() {
            if let Some(problems) = joined(names::label_value(value)) {
                errors.invalid(&values.index(index).key(&self.key), value.as_str(), &problems);
            }
        }
    }

    fn matches(&self, label: Option<&str>) -> bool {
        let listed = label.is_some_and(|label| self.values.contains(label));
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => listed,
            Operator::NotIn | Operator::NotEquals => !listed,
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::Greater => self.compare(label).is_some_and(|(label, bound)| label > bound),
            Operator::Less => self.compare(label).is_some_and(|(label, bound)| label < bound),
        }
    }

    /// The label and the bound as numbers, if both are.
    fn compare(&self, label: Option<&str>) -> Option<(i64, i64)> {
        Some((label?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

fn joined(problems: Vec<String>) -> Option<String> {
    (!problems.is_empty()).then(|| problems.join("; "))
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let key = &self.key;
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Greater => write!(f, "{key}>{values}"),
            Operator::Less => write!(f, "{key}<{values}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            write!(f, "{}{requirement}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Reads words from the front; the last word is the end, which is never taken away.
struct Parser<'a> {
    words: &'a [(Token, String)],
}

impl<'a> Parser<'a> {
    /// The next word, operators as such.
    fn peek(&self) -> (Token, &'a str) {
        self.words.first().map_or((Token::End, ""), |(token, text)| (*token, text.as_str()))
    }

    /// The next word where a key or a value may stand: there `in` is a name as any other.
    fn peek_name(&self) -> (Token, &'a str) {
        match self.peek() {
            (Token::Operator(Operator::In | Operator::NotIn), text) => (Token::Word, text),
            other => other,
        }
    }

    fn skip(&mut self) {
        if self.words.len() > 1 {
            self.words = &self.words[1..];
        }
    }

    fn take_name(&mut self) -> (Token, &'a str) {
        let next = self.peek_name();
        self.skip();
        next
    }

    fn selector(mut self) -> Result<Vec<Requirement>, String> {
        let mut found = Vec::new();
        loop {
            match self.peek_name() {
                (Token::Word | Token::Not, _) => {}
                (Token::End, _) => return Ok(found),
                (_, text) => {
                    return Err(format!("found '{text}', expected: !, identifier, or 'end of string'"));
                }
            }
            let requirement =
                self.requirement().map_err(|fault| format!("unable to parse requirement: {fault}"))?;
            found.push(requirement);
            match self.take_name() {
                (Token::End, _) => return Ok(found),
                (Token::Comma, _) => {}
                (_, text) => return Err(format!("found '{text}', expected: ',' or 'end of string'")),
            }
            if let (token, text) = self.peek_name()
                && !matches!(token, Token::Word | Token::Not)
            {
                return Err(format!("found '{text}', expected: identifier after ','"));
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = self.peek_name().0 == Token::Not;
        if negated {
            self.skip();
        }
        let (token, key) = self.take_name();
        if token != Token::Word {
            return Err(format!("found '{key}', expected: identifier"));
        }
        if let Some(problems) = joined(names::qualified_name(key)) {
            return Err(format!("<nil>: Invalid value: {}: {problems}", Value::from(key)));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, []);
        }
        if matches!(self.peek_name().0, Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, []);
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.set()?,
            _ => vec![self.value()?],
        };
        Requirement::new(key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, String> {
        let (token, text) = self.peek();
        self.skip();
        match token {
            Token::Operator(operator) => Ok(operator),
            _ => Err(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn value(&mut self) -> Result<String, String> {
        if matches!(self.peek_name().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.take_name() {
            (Token::Word, text) => Ok(text.into()),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        let (token, text) = self.take_name();
        if token != Token::Open {
            return Err(format!("found '{text}' expected: '('"));
        }
        match self.peek_name() {
            (Token::Word | Token::Comma, _) => self.set_members(),
            (Token::Closed, _) => {
                self.skip();
                Ok(vec![String::new()])
            }
            (_, text) => Err(format!("found '{text}', expected: ',', ')' or identifier")),
        }
    }

    /// The members up to the closing parenthesis; one that is left out is empty.
    fn set_members(&mut self) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        loop {
            match self.take_name() {
                (Token::Word, text) => {
                    found.push(text.into());
                    match self.peek_name() {
                        (Token::Comma, _) => {}
                        (Token::Closed, _) => break,
                        (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if found.is_empty() {
                        found.push(String::new());
                    }
                    match self.peek_name().0 {
                        Token::Closed => {
                            found.push(String::new());
                            break;
                        }
                        Token::Comma => {
                            self.skip();
                            found.push(String::new());
                        }
                        _ => {}
                    }
                }
                (_, text) => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
        self.skip();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn labels_match_or_do_not() {
        let labels = json!({"app": "web", "n": "10", "empty": "", "in": "in"});
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==web,n", true),
            ("app!=web", false),
            ("missing!=web", true),
            ("app in (db, web)", true),
            ("missing notin (a)", true),
            ("!app", false),
            (" ! missing ", true),
            ("n>9", true),
            ("n<10", false),
            ("app>1", false),
            ("empty=", true),
            ("empty in ()", true),
            ("empty in (,a)", true),
            ("in in (in)", true),
        ];
        for (text, expected) in cases {
            let selector = Selector::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert_eq!(selector.matches(&labels), expected, "case: {text}");
        }
        assert!(!Selector::nothing().matches(&labels));
    }

    #[test]
    fn what_does_not_parse_says_so_in_upstreams_words() {
        let cases = [
            ("=b", "found '=', expected: !, identifier, or 'end of string'"),
            ("a,,b", "found ',', expected: identifier after ','"),
            ("a,", "found '', expected: identifier after ','"),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            ("a===b", "unable to parse requirement: found '=', expected: identifier"),
            ("a in", "unable to parse requirement: found '' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a in ((b))", "unable to parse requirement: found '(', expected: ',', ')' or identifier"),
            (
                "a>b",
                "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Selector::parse(text).unwrap_err(), expected, "case: {text}");
        }
    }

    proptest! {
        /// Whatever parses prints as something that parses to the same.
        #[test]
        fn printing_and_parsing_agree(text in "[ab]{1,2}(=|==|!=| in | notin |>|<|)(\\([ab,]{0,3}\\)|[ab1]?)(,[!]?c)?") {
            if let Ok(selector) = Selector::parse(&text) {
                prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
            }
        }

        /// No text makes the parser panic or hang.
        #[test]
        fn any_text_is_answered(text in "[a-c=!<>(), inot\\PC]{0,24}") {
            let _ = Selector::parse(&text);
        }
    }
}

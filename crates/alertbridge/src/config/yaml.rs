//! YAML as a tree in which everything knows its line.
//!
//! Invariant: what a person cannot see at a glance is refused: a key twice, anchors, aliases, tags, a second document. Must not touch: what
//! keys mean.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Deepest nesting; a configuration has five levels.
const DEPTH_MAX: usize = 16;

/// A value and the line where it begins, from 1.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Nothing, `null` or `~`.
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// For messages.
    pub(super) fn in_words(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Scalar(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "keys and values",
        }
    }
}

/// The line of a fault, and what it is.
pub(super) type Fault = (usize, String);

/// The one document of a text; nothing at all is an empty one.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    let mut events = Events(Parser::new_from_str(text));
    loop {
        let (event, span) = events.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            Event::StreamEnd | Event::DocumentEnd => {
                let value = Value::Map(Vec::new());
                return Ok(Node { line: 1, value });
            }
            event => {
                let node = events.node(event, span, 0)?;
                return match events.after_document()? {
                    None => Ok(node),
                    Some(line) => Err((
                        line,
                        "found a second document, accepted: one document in the file".to_owned(),
                    )),
                };
            }
        }
    }
}

struct Events<'a>(Parser<'a, saphyr_parser::StrInput<'a>>);

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.0.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err((error.marker().line().max(1), error.info().to_owned())),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// The line of whatever comes behind the end of the document, if anything does.
    fn after_document(&mut self) -> Result<Option<usize>, Fault> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(None),
                (Event::DocumentEnd, _) => {}
                (_, span) => return Ok(Some(span.start.line())),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fault> {
        let line = span.start.line().max(1);
        let refused = |found: &str| Err((line, format!("found {found}, accepted: plain values")));
        if depth > DEPTH_MAX {
            return refused("values nested too deeply");
        }
        let value = match event {
            Event::Alias(_) => return refused("an alias"),
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => return refused("a tag"),
            Event::Scalar(_, _, 1.., _)
            | Event::SequenceStart(1.., _)
            | Event::MappingStart(1.., _) => return refused("an anchor"),
            Event::Scalar(text, style, ..) => match (style, text.as_ref()) {
                (ScalarStyle::Plain, "" | "~" | "null") => Value::Null,
                (_, text) => Value::Scalar(text.to_owned()),
            },
            Event::SequenceStart(..) => Value::List(self.list(depth)?),
            Event::MappingStart(..) => Value::Map(self.map(depth)?),
            _ => return refused("an unexpected end"),
        };
        Ok(Node { line, value })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Fault> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(nodes),
                (event, span) => nodes.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Node, Node)>, Fault> {
        let mut pairs: Vec<(Node, Node)> = Vec::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(pairs),
                (event, span) => self.node(event, span, depth + 1)?,
            };
            let Value::Scalar(name) = &key.value else {
                let found = key.value.in_words();
                return Err((
                    key.line,
                    format!("found {found} as a key, accepted: a text"),
                ));
            };
            let is_same = |(other, _): &&(Node, Node)| matches!(&other.value, Value::Scalar(text) if text == name);
            if let Some((first, _)) = pairs.iter().find(is_same) {
                let message = format!(
                    "{name}: found a second time (first in line {}), accepted: once",
                    first.line
                );
                return Err((key.line, message));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            pairs.push((key, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_at_a_glance_is_refused_with_its_line() {
        for (text, line, message) in [
            (
                "a: 1\nb: 2\na: 3\n",
                3,
                "a: found a second time (first in line 1)",
            ),
            ("a: &x 1\nb: *x\n", 1, "an anchor"),
            ("a: !!str 1\n", 1, "a tag"),
            ("a: 1\n---\nb: 2\n", 2, "a second document"),
            ("a:\n  - b\n c: [\n", 3, ""),
            ("? [a]\n: b\n", 1, "a list as a key"),
        ] {
            let (found, said) = parse(text).unwrap_err();
            assert!(
                found == line && said.contains(message),
                "{text:?}: {found} {said}"
            );
        }
        let deep = "[".repeat(DEPTH_MAX + 2);
        assert!(parse(&deep).unwrap_err().1.contains("too deeply"));
    }
}

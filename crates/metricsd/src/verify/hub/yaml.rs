//! YAML as a tree: what rules and routes need of it.
//!
//! Invariant: what would need more than a tree (anchors, aliases, tags) is an error with its line, so that nothing is passed over. Pure.

use saphyr_parser::{Event, Parser, StrInput};

/// Deepest nesting; a tree of routes may have some levels.
const DEPTH_MAX: usize = 64;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A text, a number, nothing.
    Scalar(String),
    /// `[...]` or lines with dashes.
    List(Vec<Node>),
    /// Keys and values, in their order.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value of a key; none if there is no such key or this has no keys.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Node::Map(pairs) = self else { return None };
        let found = pairs.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }

    /// The text of a key.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Node::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The list of a key; empty if there is none.
    pub(super) fn list(&self, key: &str) -> &[Node] {
        match self.get(key) {
            Some(Node::List(nodes)) => nodes,
            _ => &[],
        }
    }

    /// Keys and values; none if this has no keys.
    pub(super) fn pairs(&self) -> &[(String, Node)] {
        match self {
            Node::Map(pairs) => pairs,
            _ => &[],
        }
    }
}

/// The documents of a text.
///
/// # Errors
/// The line, and what was found there.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut events = Events {
        parser: Parser::new_from_str(text),
        line: 1,
    };
    let mut documents = Vec::new();
    loop {
        match events.next()? {
            Event::StreamEnd => return Ok(documents),
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            event => documents.push(events.node(event, 0)?),
        }
    }
}

struct Events<'a> {
    parser: Parser<'a, StrInput<'a>>,
    line: usize,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<Event<'a>, String> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line().max(1);
                Ok(event)
            }
            Some(Err(err)) => Err(format!(
                "line {}: {}",
                err.marker().line().max(1),
                err.info()
            )),
            None => Ok(Event::StreamEnd),
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, String> {
        if depth > DEPTH_MAX {
            return self.refused("values nested too deeply");
        }
        match event {
            Event::Scalar(_, _, 1.., _)
            | Event::SequenceStart(1.., _)
            | Event::MappingStart(1.., _) => self.refused("an anchor"),
            Event::Scalar(_, _, _, Some(_)) => self.refused("a tag"),
            Event::Scalar(text, ..) => Ok(Node::Scalar(text.into_owned())),
            Event::SequenceStart(..) => {
                let mut nodes = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(Node::List(nodes)),
                        event => nodes.push(self.node(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut pairs = Vec::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd => return Ok(Node::Map(pairs)),
                        event => self.node(event, depth + 1)?,
                    };
                    let Node::Scalar(key) = key else {
                        return self.refused("a key that is no text");
                    };
                    let event = self.next()?;
                    pairs.push((key, self.node(event, depth + 1)?));
                }
            }
            Event::Alias(_) => self.refused("an alias"),
            _ => self.refused("an unexpected end"),
        }
    }

    fn refused(&self, found: &str) -> Result<Node, String> {
        Err(format!(
            "line {}: found {found}, accepted: plain values",
            self.line
        ))
    }
}

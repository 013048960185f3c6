//! YAML as a tree whose every node knows its place in the text.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};

use super::Mistake;

/// The most nodes that a file may have once its aliases are written out; a handful of lines can otherwise grow without bound.
const MOST_NODES: usize = 200_000;

/// A value of a YAML file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// The bytes of the file that it is written in.
    pub range: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A single text or number.
    Scalar {
        /// The text, with quotes and escapes resolved.
        text: String,
        /// Whether it stands without quotes, so that it may also be a number, a boolean or nothing.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The key.
    pub key: String,
    /// The bytes of the file that the key is written in.
    pub key_range: Range<usize>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// Whether nothing is written here: `key:` or `key: null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// The entries of a mapping; none where it is something else.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The elements of a list; none where it is something else.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    fn size(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar { .. } => 0,
            Kind::List(items) => items.iter().map(Node::size).sum(),
            Kind::Map(entries) => entries.iter().map(|entry| entry.value.size()).sum(),
        }
    }
}

/// Reads a text that must be one YAML document. Where the text is not YAML at all, the tree is absent.
///
/// Tags other than `tags` (such as `!vault`) are mistakes; those leave no trace in the tree.
pub(crate) fn read(text: &str, tags: &[&str], mistakes: &mut Vec<Mistake>) -> Option<Node> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder {
        text,
        tags,
        mistakes,
        open: Vec::new(),
        anchors: BTreeMap::new(),
        nodes: 0,
        root: None,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => {
                if !builder.event(event, &span) {
                    return None;
                }
            }
            Err(error) => {
                mistakes.push(syntax(text, &error));
                return None;
            }
        }
    }
    let root = builder.root;
    if root.is_none() && mistakes.is_empty() {
        mistakes.push(Mistake::error(
            0..0,
            "the file is empty",
            "write a mapping of keys and values",
        ));
    }
    root
}

/// What the YAML parser says, and what is most often behind it.
fn syntax(text: &str, error: &ScanError) -> Mistake {
    let at = error.marker().byte_offset().unwrap_or(text.len());
    let line_start = text[..text.floor_char_boundary(at)]
        .rfind('\n')
        .map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let fix = if line.contains(": {{") || line.trim_start().starts_with("- {{") {
        "a text that begins with `{{` must stand in quotes"
    } else if line.trim_start().starts_with('\t') || line.starts_with('\t') {
        "YAML is indented with spaces, never with tabs"
    } else {
        "check the indentation of this line and of the one before; put texts that hold `: `, ` #` or begin with one of `{[&*!|>%@` in quotes"
    };
    Mistake::error(at..at + 1, format!("this is not YAML: {}", error.info()), fix)
}

struct Builder<'a> {
    text: &'a str,
    tags: &'a [&'a str],
    mistakes: &'a mut Vec<Mistake>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// A list or mapping that has begun and not ended.
struct Open {
    start: usize,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// The keys so far: mappings of many thousand hosts are not unusual.
        keys: BTreeSet<String>,
        key: Option<Key>,
    },
}

/// A key that waits for its value.
enum Key {
    Good(String, Range<usize>),
    /// Reported already; its value is read and dropped.
    Bad,
}

impl Builder<'_> {
    /// Takes one event up; false where reading on makes no sense.
    fn event(&mut self, event: Event<'_>, span: &Span) -> bool {
        let range = span.byte_range().unwrap_or_default();
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                self.mistake(
                    range,
                    "a second document begins here",
                    "keep one document per file",
                );
                false
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.tag(tag.as_deref(), &range);
                // The span of a block text reaches to where the next key begins.
                let range = range.start..trim_end(self.text, range.start, range.end);
                let kind = Kind::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                self.put(Node { range, kind }, anchor, 1)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), &range);
                self.open.push(Open {
                    start: range.start,
                    anchor,
                    content: Content::List(Vec::new()),
                });
                true
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), &range);
                let content = Content::Map {
                    entries: Vec::new(),
                    keys: BTreeSet::new(),
                    key: None,
                };
                self.open.push(Open {
                    start: range.start,
                    anchor,
                    content,
                });
                true
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(range.end),
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    let size = node.size();
                    self.put(node, 0, size)
                }
                None => {
                    self.mistake(
                        range.clone(),
                        "this alias stands inside of what it names",
                        "write the value out",
                    );
                    self.put(
                        Node {
                            range,
                            kind: Kind::Scalar {
                                text: String::new(),
                                plain: true,
                            },
                        },
                        0,
                        1,
                    )
                }
            },
            _ => true,
        }
    }

    fn mistake(&mut self, range: Range<usize>, message: &str, fix: &str) {
        self.mistakes.push(Mistake::error(range, message, fix));
    }

    fn tag(&mut self, tag: Option<&Tag>, range: &Range<usize>) {
        if tag.is_some_and(|tag| !self.tags.contains(&tag.to_string().as_str())) {
            self.mistake(
                range.clone(),
                "YAML tags (`!…`) are not understood here",
                "remove the tag",
            );
        }
    }

    fn close(&mut self, end: usize) -> bool {
        let Some(open) = self.open.pop() else { return false };
        let kind = match open.content {
            Content::List(items) => Kind::List(items),
            Content::Map { entries, .. } => Kind::Map(entries),
        };
        let end = trim_end(self.text, open.start, end);
        self.put(
            Node {
                range: open.start..end,
                kind,
            },
            open.anchor,
            1,
        )
    }

    /// Puts a whole value where it belongs: into the open list or mapping, or at the root.
    fn put(&mut self, node: Node, anchor: usize, size: usize) -> bool {
        self.nodes += size;
        if self.nodes > MOST_NODES {
            self.mistake(
                node.range,
                "the file grows beyond all measure here",
                "use fewer aliases",
            );
            return false;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, keys, key }) => match key.take() {
                None => *key = Some(read_key(node, keys, self.mistakes)),
                Some(Key::Good(key, key_range)) => entries.push(Entry {
                    key,
                    key_range,
                    value: node,
                }),
                Some(Key::Bad) => {}
            },
        }
        true
    }
}

fn read_key(node: Node, keys: &mut BTreeSet<String>, mistakes: &mut Vec<Mistake>) -> Key {
    let Kind::Scalar { text, .. } = node.kind else {
        mistakes.push(Mistake::error(
            node.range,
            "a key must be a single text",
            "a text that begins with `{{` must stand in quotes",
        ));
        return Key::Bad;
    };
    if !keys.insert(text.clone()) {
        mistakes.push(Mistake::error(
            node.range,
            format!("`{text}` stands here twice"),
            "keep one of the two; which one was meant cannot be told",
        ));
        return Key::Bad;
    }
    Key::Good(text, node.range)
}

/// The end of a block without the empty lines and indentation after it.
fn trim_end(text: &str, start: usize, end: usize) -> usize {
    text.get(start..end)
        .map_or(end, |block| start + block.trim_end().len())
}

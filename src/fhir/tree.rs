//! JSON to look at: what is asked of a resource is asked of either tree, the one that `serde_json` makes and owns, or [`Node`], which borrows from the text and costs a fraction of it.
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// A value of JSON.
pub trait Tree: Sized {
    /// What its objects are.
    type Object: Object<Value = Self>;

    /// As an object.
    fn object(&self) -> Option<&Self::Object>;

    /// As a list.
    fn list(&self) -> Option<&[Self]>;

    /// As a text.
    fn text(&self) -> Option<&str>;

    /// As a number, as it is written.
    fn number(&self) -> Option<Cow<'_, str>>;

    /// A member of an object.
    fn get(&self, name: &str) -> Option<&Self> {
        self.object()?.get(name)
    }

    /// A member of an object that is a text.
    fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }

    /// The elements of a member that is a list.
    fn each(&self, name: &str) -> std::slice::Iter<'_, Self> {
        self.get(name).and_then(Self::list).unwrap_or_default().iter()
    }
}

/// An object of JSON.
pub trait Object {
    /// What its members are.
    type Value: Tree<Object = Self>;

    /// A member.
    fn get(&self, name: &str) -> Option<&Self::Value>;

    /// Its members, in their order.
    fn members(&self) -> impl Iterator<Item = (&str, &Self::Value)>;
}

impl Tree for Value {
    type Object = Map<String, Value>;

    fn object(&self) -> Option<&Map<String, Value>> {
        self.as_object()
    }

    fn list(&self) -> Option<&[Value]> {
        self.as_array().map(Vec::as_slice)
    }

    fn text(&self) -> Option<&str> {
        self.as_str()
    }

    fn number(&self) -> Option<Cow<'_, str>> {
        self.as_number().map(|number| number.to_string().into())
    }
}

impl Object for Map<String, Value> {
    type Value = Value;

    fn get(&self, name: &str) -> Option<&Value> {
        Map::get(self, name)
    }

    fn members(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// A value that borrows from the text it was read from.
#[derive(Clone, PartialEq)]
pub enum Node<'t> {
    /// `null`, `true`, `false`.
    Other,
    /// A number as it is written.
    Number(Cow<'t, str>),
    /// A text.
    Text(Cow<'t, str>),
    /// A list.
    List(Vec<Node<'t>>),
    /// An object.
    Object(Members<'t>),
}

/// The members of an object, in their order.
#[derive(Clone, PartialEq)]
pub struct Members<'t>(Vec<(Cow<'t, str>, Node<'t>)>);

impl<'t> Node<'t> {
    /// Reads a text.
    ///
    /// # Errors
    /// What is no JSON, or nested more than 128 deep.
    pub fn parse(text: &'t str) -> serde_json::Result<Node<'t>> {
        serde_json::from_str(text)
    }
}

/// Nothing of a patient.
impl fmt::Debug for Node<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Node")
    }
}

impl<'t> Tree for Node<'t> {
    type Object = Members<'t>;

    fn object(&self) -> Option<&Members<'t>> {
        match self {
            Node::Object(members) => Some(members),
            _ => None,
        }
    }

    fn list(&self) -> Option<&[Node<'t>]> {
        match self {
            Node::List(items) => Some(items),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    fn number(&self) -> Option<Cow<'_, str>> {
        match self {
            Node::Number(number) => Some(Cow::Borrowed(number)),
            _ => None,
        }
    }
}

impl<'t> Object for Members<'t> {
    type Value = Node<'t>;

    fn get(&self, name: &str) -> Option<&Node<'t>> {
        // Of two of one name the last counts, as in the other tree.
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn members(&self) -> impl Iterator<Item = (&str, &Node<'t>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }
}

/// By this name `serde_json` hands over a number as it is written.
const NUMBER: &str = "$serde_json::private::Number";

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Node<'de>, D::Error> {
        from.deserialize_any(Reader)
    }
}

/// A text that borrows where it can.
struct Text<'t>(Cow<'t, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Text<'de>, D::Error> {
        from.deserialize_str(TextReader)
    }
}

struct TextReader;

impl<'de> Visitor<'de> for TextReader {
    type Value = Text<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text)))
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node<'de>, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node<'de>, E> {
        Ok(Node::Number(number.to_string().into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node<'de>, E> {
        Ok(Node::Number(number.to_string().into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node<'de>, E> {
        Ok(Node::Number(number.to_string().into()))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Node<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Node<'de>, A::Error> {
        let mut members: Vec<(Cow<'de, str>, Node<'de>)> = Vec::with_capacity(4);
        while let Some(Text(name)) = from.next_key()? {
            if name == NUMBER && members.is_empty() {
                let Text(number) = from.next_value()?;
                return Ok(Node::Number(number));
            }
            members.push((name, from.next_value()?));
        }
        Ok(Node::Object(Members(members)))
    }
}

/// Where the value of a member of the outermost object stands in its text, which must be JSON.
pub fn member(text: &str, name: &str) -> Option<std::ops::Range<usize>> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut key) = (0, 0_usize, None);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = end_of_text(bytes, at)?;
                let is_key = depth == 1 && bytes.get(end) == Some(&b':');
                if is_key {
                    key = text.get(at + 1..end - 1);
                } else if depth == 1 && key == Some(name) {
                    return Some(at..end);
                }
                at = end;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b',' if depth == 1 => key = None,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Behind the text that begins here.
fn end_of_text(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 1;
    loop {
        let found = memchr::memchr2(b'"', b'\\', bytes.get(at..)?)? + at;
        match bytes.get(found) {
            Some(b'"') => return Some(found + 1),
            _ => at = found + 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(node: &Node<'_>, value: &Value) {
        match value {
            Value::Object(object) => {
                let members = node.object().unwrap();
                let names =
                    |all: Vec<(&str, ())>| all.into_iter().map(|(name, ())| name.to_owned()).collect::<Vec<_>>();
                let (ours, theirs) =
                    (members.members().map(|(name, _)| (name, ())), object.keys().map(|name| (name.as_str(), ())));
                assert_eq!(names(ours.collect()), names(theirs.collect()));
                object.iter().for_each(|(name, value)| same(node.get(name).unwrap(), value));
            }
            Value::Array(items) => {
                assert_eq!(node.list().unwrap().len(), items.len());
                node.list().unwrap().iter().zip(items).for_each(|(node, value)| same(node, value));
            }
            other => {
                assert_eq!(node.text(), other.text());
                assert_eq!(node.number(), other.number());
            }
        }
    }

    #[test]
    fn both_trees_are_the_same_tree() {
        for text in [
            r#"{"a":[1,-2.50,1e3,null,true,"x\n\u00e9 \"y\""],"b":{"a":{},"é":[]},"c":"plain"}"#,
            "[]",
            "\"text\"",
            "98.50",
        ] {
            same(&Node::parse(text).unwrap(), &serde_json::from_str(text).unwrap());
        }
        assert!(Node::parse("{\"a\":").is_err() && Node::parse(&"[".repeat(200)).is_err());
        assert_eq!(Node::parse(r#"{"value":98.50}"#).unwrap().get("value").unwrap().number().unwrap(), "98.50");
    }

    #[test]
    fn a_member_of_the_outermost_object_is_found_by_its_place() {
        let text = r#"{"resourceType":"Encounter","x":[{"status":"inner"}],"note":"\"status\":\"no\"","status":"in-progress","y":"status"}"#;
        assert_eq!(&text[member(text, "status").unwrap()], "\"in-progress\"");
        assert_eq!(member(text, "inner"), None);
        assert_eq!(member(r#"{"status":{"a":"b"},"z":"c"}"#, "status"), None, "no text");
    }
}

//! A compiled plan in readable form: what there is, and what a map or structure was compiled to.
use super::Plan;
use serde_json::{Value, json};

/// Something to print, as text or JSON.
#[derive(Debug)]
pub struct Shown {
    text: String,
    json: Value,
}

impl Shown {
    /// For people.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// For programs.
    pub fn json(&self) -> &Value {
        &self.json
    }
}

impl Plan {
    /// All message maps, maps and tables.
    pub fn listing(&self) -> Shown {
        Shown { text: String::new(), json: json!([]) }
    }
    /// One of them.
    ///
    /// # Errors
    /// A suggestion when there is none of that name.
    pub fn show(&self, name: &str) -> Result<Shown, String> {
        let _ = name;
        Err(String::new())
    }
}

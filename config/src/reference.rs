//! The configuration reference in Markdown: the JSON Schema as a person reads it.
//!
//! A table for each mapping, its keys in alphabetical order. Everything comes from the schema, which is tested against the
//! reader; so a key, a default or a bound can't be in force and missing here. A test holds the page in `docs/` against
//! this.

use std::fmt::Write as _;

use serde_json::Value;

use crate::schema::json_schema;

/// The whole reference, without a heading of its own.
#[must_use]
pub fn markdown_reference() -> String {
    let schema = json_schema();
    let mut sections = Vec::new();
    collect("", &schema, &mut sections);
    let mut page = String::new();
    for section in &sections {
        section.write(&mut page);
    }
    page
}

/// One mapping, or several with the same keys side by side.
struct Section<'a> {
    paths: Vec<String>,
    schema: &'a Value,
}

/// The mappings of a schema, outer before inner.
fn collect<'a>(path: &str, schema: &'a Value, sections: &mut Vec<Section<'a>>) {
    if let Some(properties) = schema.get("properties") {
        let alike = sections
            .iter_mut()
            .find(|section| section.is_beside(path) && section.properties() == Some(properties));
        match alike {
            // A list of what may also stand alone, or a neighbour with the same keys.
            Some(section) => return section.also(path),
            None => sections.push(Section {
                paths: vec![path.to_owned()],
                schema,
            }),
        }
        for (key, schema) in members(properties) {
            let dot = if path.is_empty() { "" } else { "." };
            collect(&format!("{path}{dot}{key}"), schema, sections);
        }
    }
    for form in items(schema.get("oneOf")) {
        collect(path, form, sections);
    }
    if let Some(element) = schema.get("items") {
        collect(&format!("{path}[]"), element, sections);
    }
}

impl Section<'_> {
    fn properties(&self) -> Option<&Value> {
        self.schema.get("properties")
    }

    /// Whether a path has the same parent, or is the same but for being a list.
    fn is_beside(&self, path: &str) -> bool {
        self.paths
            .iter()
            .any(|own| parent(own) == parent(path) || own == path.trim_end_matches("[]"))
    }

    fn also(&mut self, path: &str) {
        let single = path.trim_end_matches("[]");
        if !self.paths.iter().any(|own| own == single) {
            self.paths.push(path.to_owned());
        }
    }

    fn write(&self, page: &mut String) {
        let quoted: Vec<_> = self.paths.iter().map(|path| format!("`{path}`")).collect();
        let heading = quoted.join(", ");
        let heading = if heading == "``" {
            "Top level"
        } else {
            &heading
        };
        let _ = writeln!(page, "### {heading}\n");
        if let ([_], Some(description)) = (self.paths.as_slice(), text(self.schema, "description"))
        {
            let _ = writeln!(page, "{description}\n");
        }
        if let Some(rule) = self.rule() {
            let _ = writeln!(page, "{rule}\n");
        }
        let _ = writeln!(
            page,
            "| key | value | default | meaning |\n|---|---|---|---|"
        );
        for (key, schema) in self.properties().into_iter().flat_map(members) {
            let default = schema
                .get("default")
                .map(|default| format!("`{}`", yaml(default)));
            let default = match default {
                None if self.requires(key) => "required".to_owned(),
                other => other.unwrap_or_default(),
            };
            let meaning = text(schema, "description").unwrap_or_default();
            let cells = [
                format!("`{key}`"),
                kind(schema),
                default,
                meaning.to_owned(),
            ];
            let cells = cells.map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(page, "| {} |", cells.join(" | "));
        }
        page.push('\n');
    }

    /// How many of the keys may stand together, where that is limited.
    fn rule(&self) -> Option<String> {
        if self.schema.get("maxProperties") == Some(&Value::from(1)) {
            return Some("Exactly one of these keys.".to_owned());
        }
        let keys: Vec<_> = items(self.schema.get("oneOf"))
            .flat_map(|form| items(form.get("required")))
            .filter_map(Value::as_str)
            .map(|key| format!("`{key}`"))
            .collect();
        (!keys.is_empty()).then(|| format!("Exactly one of {}.", keys.join(" and ")))
    }

    fn requires(&self, key: &str) -> bool {
        items(self.schema.get("required")).any(|required| required == key)
    }
}

/// What may be written as a value.
fn kind(schema: &Value) -> String {
    if let Some(title) = text(schema, "title") {
        return title.to_owned();
    }
    if let Some(only) = schema.get("const") {
        return format!("`{}`", yaml(only));
    }
    if let Some(choices) = schema.get("enum") {
        let choices: Vec<_> = items(Some(choices))
            .map(|one| format!("`{}`", yaml(one)))
            .collect();
        return alternatives(choices);
    }
    match text(schema, "type") {
        Some("array") => format!(
            "list of {}",
            schema.get("items").map(kind).unwrap_or_default()
        ),
        Some("object") => match schema
            .get("additionalProperties")
            .filter(|rest| rest.is_object())
        {
            Some(rest) => format!("mapping of names to {}", kind(rest)),
            None => "mapping".to_owned(),
        },
        Some("integer") => format!("whole number{}", range(schema)),
        Some("number") => format!("number{}", range(schema)),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some(_) => "text".to_owned(),
        None => alternatives(items(schema.get("oneOf")).map(kind).collect()),
    }
}

fn alternatives(mut kinds: Vec<String>) -> String {
    kinds.dedup();
    match kinds.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

fn range(schema: &Value) -> String {
    let bound = |key, words| schema.get(key).map(|bound| format!(" {words} {bound}"));
    let bounds = [
        bound("minimum", "from"),
        bound("exclusiveMinimum", "above"),
        bound("maximum", "to"),
        bound("exclusiveMaximum", "below"),
    ];
    bounds.into_iter().flatten().collect()
}

/// A value as it is written in the file.
fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(yaml).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let members: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{key}: {}", yaml(value)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn text<'a>(schema: &'a Value, key: &str) -> Option<&'a str> {
    schema.get(key).and_then(Value::as_str)
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

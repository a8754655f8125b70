//! References to the schemas of the document.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

/// Where schemas are in the document.
pub(crate) const SCHEMAS: &str = "#/components/schemas";

/// A reference to the schema of a type, which another part of the document must define.
pub(crate) fn reference<T: JsonSchema>() -> Value {
    named(&T::schema_name())
}

/// A reference to the schema with this name.
pub(crate) fn named(name: &str) -> Value {
    json!({ "$ref": format!("{SCHEMAS}/{name}") })
}

/// Gives a schema a name, and returns the reference to it.
pub(crate) fn define(schemas: &mut SchemaGenerator, name: &str, schema: Value) -> Value {
    schemas.definitions_mut().insert(name.to_owned(), schema);
    named(name)
}

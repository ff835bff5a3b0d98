//! The schemas of tasks, in Glance's words and order: messages quote them.

use serde_json::{Map, Value, json};

use super::UUID_PATTERN;
use crate::catalog::tasks::{TaskKind, TaskStatus};

/// What only the whole task has, not its line in a list.
const DETAILS: &[&str] = &["input", "result", "message"];

/// One task.
pub(super) fn task() -> Value {
    schema(|_| true)
}

/// A list of them.
pub(super) fn tasks() -> Value {
    json!({
        "name": "tasks",
        "properties": {
            "tasks": {"type": "array", "items": schema(|name| !DETAILS.contains(&name))},
            "schema": {"type": "string"},
        },
        "links": [{"rel": "describedby", "href": "{schema}"}],
    })
}

fn schema(shown: impl Fn(&str) -> bool) -> Value {
    let properties: Map<_, _> = properties().into_iter().filter(|(name, _)| shown(name)).collect();
    json!({"name": "task", "properties": properties})
}

fn properties() -> Map<String, Value> {
    let text = |description: &str| json!({"description": description, "type": "string"});
    let or_null =
        |description: &str, kind: &str| json!({"description": description, "type": ["null", kind]});
    let word = |description: &str, words: Vec<&str>| json!({"description": description, "enum": words, "type": "string"});
    let kinds = TaskKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let statuses = TaskStatus::ALL.iter().map(|status| status.as_str()).collect();
    let id = json!({
        "description": "An identifier for the task", "pattern": UUID_PATTERN, "type": "string",
    });
    let message = "Human-readable informative message only included when appropriate (usually on \
         failure)";
    let expires_at = "Datetime when this resource would be subject to removal";
    let listed = [
        ("id", id),
        ("type", word("The type of task represented by this content", kinds)),
        ("status", word("The current status of this task", statuses)),
        ("input", or_null("The parameters required by task, JSON blob", "object")),
        ("result", or_null("The result of current task, JSON blob", "object")),
        ("owner", text("An identifier for the owner of this task")),
        ("message", text(message)),
        ("image_id", text("Image associated with the task")),
        ("request_id", text("Human-readable informative request-id")),
        ("user_id", text("User associated with the task")),
        ("expires_at", or_null(expires_at, "string")),
        ("created_at", text("Datetime when this resource was created")),
        ("updated_at", text("Datetime when this resource was updated")),
        ("self", json!({"readOnly": true, "type": "string"})),
        ("schema", json!({"readOnly": true, "type": "string"})),
    ];
    listed.into_iter().map(|(name, schema)| (name.to_string(), schema)).collect()
}

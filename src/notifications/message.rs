//! One notification, as oslo.messaging writes it: a JSON object, for the bus in an envelope that says its
//! version and has the object as text.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::catalog::model::Timestamp;

/// How much it matters: what routing keys end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Something was done.
    Info,
    /// Something was not.
    Error,
}

impl Priority {
    /// As routing keys have it: `info` or `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Error => "error",
        }
    }
}

/// A notification.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `image.create` and the like.
    pub event_type: String,
    /// How much it matters.
    pub priority: Priority,
    /// All of it, as it is sent.
    body: Value,
}

impl Message {
    /// A notification of now.
    pub fn new(publisher_id: &str, event_type: &str, priority: Priority, payload: Value) -> Self {
        let body = json!({
            "message_id": Uuid::new_v4().hyphenated().to_string(),
            "publisher_id": publisher_id,
            "event_type": event_type,
            "priority": priority.as_str().to_uppercase(),
            "payload": payload,
            "timestamp": Timestamp::now().to_database(),
            // By it, oslo.messaging knows what it was given twice.
            "_unique_id": Uuid::new_v4().simple().to_string(),
        });
        Self { event_type: event_type.to_owned(), priority, body }
    }

    /// As it is: oslo's format 1.0.
    pub fn bare(&self) -> String {
        self.body.to_string()
    }

    /// In oslo's envelope of version 2.0.
    pub fn enveloped(&self) -> String {
        json!({"oslo.version": "2.0", "oslo.message": self.bare()}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_holds_the_message_as_text() {
        let message =
            Message::new("image.host1", "image.create", Priority::Error, json!({"a": "é"}));
        let envelope: Value = serde_json::from_str(&message.enveloped()).unwrap();
        assert_eq!(envelope["oslo.version"], "2.0");
        assert_eq!(envelope.as_object().unwrap().len(), 2);
        assert_eq!(envelope["oslo.message"], message.bare());
        let body: Value = serde_json::from_str(&message.bare()).unwrap();
        let names: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        let order = "message_id publisher_id event_type priority payload timestamp _unique_id";
        assert_eq!(names.join(" "), order);
        assert_eq!((&body["priority"], &body["payload"]["a"]), (&json!("ERROR"), &json!("é")));
        assert_eq!(body["message_id"].as_str().unwrap().len(), 36);
        assert_eq!(body["_unique_id"].as_str().unwrap().len(), 32);
        assert_eq!(body["timestamp"].as_str().unwrap().len(), "2026-11-21 14:55:03.797764".len());
    }
}

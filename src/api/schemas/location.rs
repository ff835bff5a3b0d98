//! The schema of a location that is to be added, in Glance's words and order: messages quote them.

use serde_json::{Value, json};

/// Under the name that Glance gives the body, for the messages' sake.
pub(super) fn location() -> Value {
    json!({
        "name": "location",
        "properties": {
            "add_location": {
                "type": "object",
                "description": "Values of location url, do_secure_hash and validation_data for \
                    new add location API",
                "properties": {
                    "url": {
                        "type": "string",
                        "readOnly": true,
                        "description": "The URL of the new location to be added in the image.",
                    },
                    "validation_data": validation_data(),
                },
                "required": ["url"],
            },
        },
    })
}

fn validation_data() -> Value {
    json!({
        "description": "Values to be used to populate the corresponding image properties.\
            do_secure_hash is not True then image checksum and hash will not be calculated so it \
            is the responsibility of the consumer of location ADD API to provide the correct \
            values in the validation_data parameter",
        "type": "object",
        "writeOnly": true,
        "additionalProperties": false,
        "properties": {
            "os_hash_algo": {
                "type": "string",
                "maxLength": 64,
                "enum": ["sha1", "sha256", "sha512", "md5"],
            },
            "os_hash_value": {"type": "string", "maxLength": 128},
        },
        "dependentRequired": {
            "os_hash_value": ["os_hash_algo"],
            "os_hash_algo": ["os_hash_value"],
        },
    })
}

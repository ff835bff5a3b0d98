//! What Glance says of images, members and tasks in notifications.  Glance: `glance/notifier.py`.
//!
//! Locations are never part of it: they may hold credentials.

pub mod metadefs;

use serde_json::{Map, Value, json};

use crate::catalog::model::{Image, ImageId, Member, Timestamp, Visibility};
use crate::catalog::tasks::Task;
use crate::identity::RequestContext;

/// An image that is there.
pub fn image(image: &Image) -> Value {
    let properties: Map<String, Value> =
        image.properties.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "id": image.id.as_str(),
        "name": image.name,
        "status": image.status.as_str(),
        "created_at": image.created_at.to_wire(),
        "updated_at": image.updated_at.to_wire(),
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "protected": image.protected,
        "checksum": image.checksum,
        "owner": image.owner.as_ref().map(|owner| owner.as_str()),
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "is_public": image.visibility == Visibility::Public,
        "visibility": image.visibility.as_str(),
        "properties": properties,
        "tags": image.tags,
        "deleted": false,
        "deleted_at": null,
    })
}

/// The same of a thing that is gone since now.
pub fn gone(mut payload: Value) -> Value {
    payload["deleted"] = json!(true);
    payload["deleted_at"] = json!(Timestamp::now().to_wire());
    payload
}

/// An image whose data has come.
pub fn uploaded(image: &Image) -> Value {
    let mut payload = self::image(image);
    for name in ["os_glance_importing_to_stores", "os_glance_failed_import"] {
        let list = image.properties.get(name).map(String::as_str).unwrap_or_default();
        let names: Vec<_> = list.split(',').filter(|name| !name.is_empty()).collect();
        payload[name] = json!(names);
    }
    payload
}

/// An image whose data is about to come, and where to.
pub fn prepared(image: &Image, store: Option<&str>) -> Value {
    let mut payload = uploaded(image);
    if let Some(store) = store {
        payload["backend"] = json!(store);
    }
    payload
}

/// Data that did not become complete: a sentence.
pub fn upload_failed(image: ImageId, why: &str) -> String {
    format!("Failed to upload image data for image {image} due to internal error: {why}")
}

/// Data that was sent to somebody.
pub fn sent(image: &Image, bytes: u64, to: &RequestContext) -> Value {
    json!({
        "bytes_sent": bytes,
        "image_id": image.id.as_str(),
        "owner_id": image.owner.as_ref().map(|owner| owner.as_str()),
        "receiver_tenant_id": to.project.as_ref().map(|project| project.as_str()),
        "receiver_user_id": to.user,
    })
}

/// A project that an image is shared with.
pub fn member(image: ImageId, member: &Member) -> Value {
    json!({
        "image_id": image.as_str(),
        "member_id": member.project.as_str(),
        "status": member.status.as_str(),
        "created_at": member.created_at.to_wire(),
        "updated_at": member.updated_at.to_wire(),
        "deleted": false,
        "deleted_at": null,
    })
}

/// A task, without what was asked for and what came of it: they may hold secrets.
pub fn task(task: &Task) -> Value {
    json!({
        "id": task.id.to_string(),
        "type": task.kind.as_str(),
        "status": task.status.as_str(),
        "result": null,
        "owner": task.owner.as_ref().map(|owner| owner.as_str()),
        "message": null,
        // Glance: a time that is not set is now.
        "expires_at": task.expires_at.unwrap_or_else(Timestamp::now).to_wire(),
        "created_at": task.created_at.to_wire(),
        "updated_at": task.updated_at.to_wire(),
        "deleted": false,
        "deleted_at": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::Location;

    #[test]
    fn an_image_is_told_without_its_locations() {
        let mut record = Image::new(ImageId::random(), None);
        record.locations.push(Location::unnamed("rbd://fsid/pool/image/snap"));
        record.properties.insert("os_glance_importing_to_stores".into(), "fast,slow".into());
        let told = prepared(&record, Some("fast"));
        assert!(!told.to_string().contains("rbd://"));
        assert_eq!(told["os_glance_importing_to_stores"], json!(["fast", "slow"]));
        assert_eq!(
            (&told["os_glance_failed_import"], &told["backend"]),
            (&json!([]), &json!("fast"))
        );
        assert_eq!((&told["owner"], &told["is_public"]), (&Value::Null, &json!(false)));
        assert!(prepared(&record, None).get("backend").is_none());
    }

    #[test]
    fn what_is_gone_says_since_when() {
        let told = gone(image(&Image::new(ImageId::random(), None)));
        assert_eq!(told["deleted"], json!(true));
        assert!(told["deleted_at"].as_str().unwrap().ends_with('Z'));
    }
}

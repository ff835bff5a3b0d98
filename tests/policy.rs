//! Who may do what, by the API and in the core: what went wrong elsewhere, and an operator's own files.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "recorded/client.rs"]
mod client;
#[path = "harness/core.rs"]
mod core;
#[path = "policy/files.rs"]
mod files;
#[path = "policy/notices.rs"]
mod notices;
#[path = "policy/protections.rs"]
mod protections;
#[path = "locations/store.rs"]
mod store;

use std::net::SocketAddr;
use std::sync::Arc;

use client::Answer;
use glancefs::api::{Api, Identity, Settings, serve};
use glancefs::catalog::model::{Image, ImageId};
use glancefs::identity::{ProjectId, RequestContext};
use glancefs::images::upload::{Incoming, UploadOptions};
use glancefs::images::{Images, Options};
use serde_json::Value;

const DATA: &[u8] = b"the data of an image";

/// Somebody of a project, with roles.
fn identity(project: &str, roles: &[&str]) -> RequestContext {
    RequestContext {
        roles: roles.iter().map(ToString::to_string).collect(),
        ..RequestContext::member_of(ProjectId::new(project))
    }
}

fn member(project: &str) -> RequestContext {
    RequestContext::member_of(ProjectId::new(project))
}

/// An image with data.
fn active(images: &Arc<Images>, by: &RequestContext, change: impl FnOnce(&mut Image)) -> ImageId {
    let mut image = Image::new(ImageId::random(), by.project.clone());
    image.disk_format = Some("raw".to_string());
    image.container_format = Some("bare".to_string());
    change(&mut image);
    let id = images.create(&RequestContext::operator(), image).unwrap().id;
    let mut upload = images.begin_upload(by, id, &UploadOptions::default()).unwrap();
    upload.append(DATA.into()).unwrap();
    Incoming::complete(upload).unwrap();
    id
}

/// An API, until the process ends, that believes what `X-Project` and `X-Roles` say.
struct Face {
    address: SocketAddr,
    images: Arc<Images>,
}

impl Face {
    fn start(options: Options) -> Self {
        let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
        let images = core::images(directory.path(), options);
        let identity = Identity::FromHeaders(Arc::new(|headers| {
            let text = |name| headers.get(name).unwrap().to_str().unwrap();
            let roles: Vec<&str> = text("x-roles").split(',').collect();
            let found = identity(text("x-project"), &roles);
            Box::pin(async move { Ok(found) })
        }));
        let settings = Settings { v1: true, ..Settings::default() };
        let metadefs = core::metadefs(directory.path());
        let api = Arc::new(Api::new(Arc::clone(&images), metadefs, identity, settings));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                serve(listener, api, std::future::pending()).await.unwrap();
            });
            drop(directory);
        });
        Self { address, images }
    }

    /// Sends a request as a member of a project who has further roles.
    fn send(&self, who: (&str, &str), method: &str, path: &str, body: Option<&Value>) -> Answer {
        let kind = match method {
            "PATCH" => "application/openstack-images-v2.1-json-patch",
            _ => "application/json",
        };
        let roles = format!("member,reader,{}", who.1);
        let headers = [
            ("Host", "x"),
            ("Accept", "application/json"),
            ("Content-Type", kind),
            ("X-Project", who.0),
            ("X-Roles", &roles),
        ];
        self.send_with(method, path, &headers, body.map(Value::to_string))
    }

    fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        client::send(self.address, method, path, &headers, body.as_deref().map(str::as_bytes))
    }
}

//! An Image API as its clients see it, whoever serves it.

// Not every test binary needs all of it.
#![allow(dead_code)]

use std::fs::File;
use std::path::Path;

use serde_json::Value;
use ureq::Agent;

use crate::harness::DEADLINE;

/// A server of the Image API.
pub struct ImageApi {
    agent: Agent,
    root: String,
    base: String,
}

impl ImageApi {
    /// The one at this address (`http://HOST:PORT`).
    pub fn at(address: &str) -> Self {
        let agent = Agent::config_builder().timeout_global(Some(DEADLINE)).build().into();
        Self { agent, root: address.to_string(), base: format!("{address}/v2/images") }
    }

    /// What is shown under a path (`/v2/…`).
    pub fn get(&self, path: &str) -> Value {
        let answer = self.agent.get(format!("{}{path}", self.root)).call();
        answer.unwrap().body_mut().read_json().unwrap()
    }

    /// The status that a path (`/v2/…`) is answered with.
    pub fn status(&self, path: &str) -> u16 {
        let get = self.agent.get(format!("{}{path}", self.root));
        get.config().http_status_as_error(false).build().call().unwrap().status().as_u16()
    }

    /// Sends JSON to a path (`/v2/…`).
    pub fn post(&self, path: &str, body: &Value) {
        self.agent.post(format!("{}{path}", self.root)).send_json(body).unwrap();
    }

    /// Sends JSON to a path, in the place of what is there.
    pub fn put(&self, path: &str, body: &Value) {
        self.agent.put(format!("{}{path}", self.root)).send_json(body).unwrap();
    }

    /// Removes what is at a path.
    pub fn remove(&self, path: &str) {
        self.agent.delete(format!("{}{path}", self.root)).call().unwrap();
    }

    /// The status that a request by POST is answered with, whatever it is.
    pub fn try_post(&self, path: &str, body: &Value) -> u16 {
        let request = self.agent.post(format!("{}{path}", self.root));
        let request = request.config().http_status_as_error(false).build();
        request.send_json(body).unwrap().status().as_u16()
    }

    /// Every image, in order of the ids.
    pub fn list(&self) -> Vec<Value> {
        let url = format!("{}?limit=1000", self.base);
        let answer = self.agent.get(url).call();
        let mut list: Value = answer.unwrap().body_mut().read_json().unwrap();
        let mut images = list["images"].as_array_mut().expect("a list").split_off(0);
        images.sort_by_key(|image| id_of(image).to_string());
        images
    }

    /// The names of every image, in order.
    pub fn names(&self) -> Vec<String> {
        let names = self.list().into_iter().map(|image| image["name"].as_str().unwrap().into());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// One image.
    pub fn show(&self, id: &str) -> Value {
        let answer = self.agent.get(format!("{}/{id}", self.base)).call();
        answer.unwrap().body_mut().read_json().unwrap()
    }

    /// Makes an image with data; returns its id.
    pub fn create(&self, fields: &Value, data: &Path) -> String {
        let id = self.record(fields);
        self.upload(&id, data, None);
        id
    }

    /// Makes an image without data; returns its id.
    pub fn record(&self, fields: &Value) -> String {
        self.try_record(fields).unwrap()
    }

    /// The same, or the status of a failure.
    pub fn try_record(&self, fields: &Value) -> Result<String, u16> {
        let post = self.agent.post(&self.base).config().http_status_as_error(false).build();
        let mut answer = post.send_json(fields).unwrap();
        match answer.status().as_u16() {
            201 => Ok(id_of(&answer.body_mut().read_json().unwrap()).to_string()),
            failure => Err(failure),
        }
    }

    /// Gives an image its data, in this store if one is named.
    pub fn upload(&self, id: &str, data: &Path, store: Option<&str>) {
        let mut put = self.agent.put(format!("{}/{id}/file", self.base));
        if let Some(store) = store {
            put = put.header("X-Image-Meta-Store", store);
        }
        put.content_type("application/octet-stream").send(File::open(data).unwrap()).unwrap();
    }

    /// Changes fields by a JSON patch.
    pub fn patch(&self, id: &str, patch: &Value) {
        self.agent
            .patch(format!("{}/{id}", self.base))
            .content_type("application/openstack-images-v2.1-json-patch")
            .send(patch.to_string())
            .unwrap();
    }

    /// Adds a tag.
    pub fn tag(&self, id: &str, tag: &str) {
        self.agent.put(format!("{}/{id}/tags/{tag}", self.base)).send_empty().unwrap();
    }

    /// Does one of the `actions`.
    pub fn act(&self, id: &str, action: &str) {
        self.agent.post(format!("{}/{id}/actions/{action}", self.base)).send_empty().unwrap();
    }

    /// Writes an image's data to a file.
    pub fn download(&self, id: &str, to: &Path) {
        let mut answer = self.agent.get(format!("{}/{id}/file", self.base)).call().unwrap();
        let mut file = File::create(to).unwrap();
        std::io::copy(&mut answer.body_mut().as_reader(), &mut file).unwrap();
    }

    /// Deletes an image.
    pub fn delete(&self, id: &str) {
        self.agent.delete(format!("{}/{id}", self.base)).call().unwrap();
    }
}

fn id_of(image: &Value) -> &str {
    image["id"].as_str().expect("an image has an id")
}

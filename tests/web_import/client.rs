//! What a client of the Image API does to import an image.

use serde_json::{Value, json};
use ureq::Agent;

use super::harness::{Glancefs, eventually};

/// One image, seen by its owner.
pub struct Image<'a> {
    glancefs: &'a Glancefs,
    pub id: String,
}

/// Sends a request; the status, and the body as JSON or as text.
fn ask(glancefs: &Glancefs, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, Value) {
    let uri = format!("http://{}{path}", glancefs.api.unwrap());
    let agent: Agent =
        Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(uri)
        .header("Content-Type", kind)
        .header("Accept", "text/plain");
    let mut answer = agent.run(request.body(body).unwrap()).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (answer.status().as_u16(), body)
}

impl<'a> Image<'a> {
    /// Makes a record.
    #[track_caller]
    pub fn create(glancefs: &'a Glancefs, disk_format: &str) -> Self {
        let body = json!({
            "name": "imported", "disk_format": disk_format, "container_format": "bare",
        });
        let body = body.to_string();
        let (status, image) =
            ask(glancefs, "POST", "/v2/images", "application/json", body.as_bytes());
        assert_eq!(status, 201, "{image}");
        Self { glancefs, id: image["id"].as_str().unwrap().to_owned() }
    }

    /// One that is there.
    pub fn of(glancefs: &'a Glancefs, id: &str) -> Self {
        Self { glancefs, id: id.to_owned() }
    }

    fn path(&self, what: &str) -> String {
        format!("/v2/images/{}{what}", self.id)
    }

    /// Asks for an import; the status, and what is said.
    pub fn import(&self, method: &Value) -> (u16, Value) {
        let body = json!({ "method": method }).to_string();
        ask(self.glancefs, "POST", &self.path("/import"), "application/json", body.as_bytes())
    }

    /// Asks for a download, which is accepted.
    #[track_caller]
    pub fn download(&self, uri: &str) {
        let (status, said) = self.import(&json!({ "name": "web-download", "uri": uri }));
        assert_eq!(status, 202, "{said}");
    }

    /// Sends data to the staging area.
    #[track_caller]
    pub fn stage(&self, data: &[u8]) {
        let kind = "application/octet-stream";
        let (status, said) = ask(self.glancefs, "PUT", &self.path("/stage"), kind, data);
        assert_eq!(status, 204, "{said}");
    }

    /// The record.
    #[track_caller]
    pub fn show(&self) -> Value {
        let (status, image) = ask(self.glancefs, "GET", &self.path(""), "text/plain", b"");
        assert_eq!(status, 200, "{image}");
        image
    }

    /// The record when no import has it any more.
    #[track_caller]
    pub fn settled(&self) -> Value {
        eventually("the import ends", || self.show().get("os_glance_import_task").is_none());
        self.show()
    }

    /// Removes the image; the status.
    pub fn delete(&self) -> u16 {
        ask(self.glancefs, "DELETE", &self.path(""), "text/plain", b"").0
    }

    /// The data.
    #[track_caller]
    pub fn data(&self) -> Vec<u8> {
        let uri = format!("http://{}{}", self.glancefs.api.unwrap(), self.path("/file"));
        let agent: Agent = Agent::config_builder().proxy(None).build().into();
        let mut answer = agent.get(uri).call().unwrap();
        answer.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap()
    }

    /// The states of its tasks.
    #[track_caller]
    pub fn tasks(&self) -> Vec<String> {
        let (status, list) = ask(self.glancefs, "GET", &self.path("/tasks"), "text/plain", b"");
        assert_eq!(status, 200, "{list}");
        let tasks = list["tasks"].as_array().unwrap().iter();
        tasks.map(|task| task["status"].as_str().unwrap().to_owned()).collect()
    }
}

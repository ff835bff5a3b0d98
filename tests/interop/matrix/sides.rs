//! Who asks, and whom.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::super::glance_api::{GlanceApi, glance_files};
use crate::bare_client::{Answer, send};
use crate::harness::{Glancefs, Keystone};

/// Who asks: a name, and a token.
pub struct Identities {
    pub everybody: Vec<(String, Option<String>)>,
    /// Ids of projects.
    pub projects: [String; 3],
}

impl Identities {
    /// Those of Keystone, and beside them some whose role is none that a rule names.
    pub fn of(keystone: &Keystone) -> Self {
        let projects = ["project-a", "project-b", "project-c"];
        let ids = projects.map(|project| keystone.id("project", project));
        let role = json!({"role": {"name": "onlooker"}});
        let role = keystone.ask("POST", "roles", &role)["role"]["id"].as_str().unwrap().to_string();
        for (project, id) in [("project-a", &ids[0]), ("project-c", &ids[2])] {
            let name = format!("{project}-onlooker");
            let user = json!({"user": {
                "name": name, "domain_id": "default", "password": format!("secret-of-{name}"),
            }});
            let user = keystone.ask("POST", "users", &user)["user"]["id"].clone();
            let user = user.as_str().unwrap();
            let path = format!("projects/{id}/users/{user}/roles/{role}");
            keystone.ask("PUT", &path, &Value::Null);
        }
        let users = [
            "admin",
            "project-a-admin",
            "project-a-member",
            "project-a-reader",
            "project-a-service",
            "project-a-onlooker",
            "project-b-member",
            "project-b-reader",
            "project-c-member",
            "project-c-service",
            "project-c-onlooker",
        ];
        let mut everybody: Vec<_> =
            users.map(|user| (user.to_string(), Some(keystone.token(user)))).into();
        everybody.push(("nobody".to_string(), None));
        Self { everybody, projects: ids }
    }

    fn token(&self, name: &str) -> Option<&str> {
        let found = self.everybody.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("{name}?")).1.as_deref()
    }
}

/// One of the servers.
pub struct Side<'p> {
    server: SocketAddr,
    pub people: &'p Identities,
}

impl<'p> Side<'p> {
    pub fn of_glancefs(glancefs: &Glancefs, people: &'p Identities) -> Self {
        Self { server: glancefs.api.unwrap(), people }
    }

    pub fn of_glance((glance, _): &(GlanceApi, Glancefs), people: &'p Identities) -> Self {
        Self { server: glance.address(), people }
    }

    /// Has the server get to know everybody.
    pub fn log_in(&self) {
        for (who, token) in &self.people.everybody {
            let answer = self.send(who, "GET", "/v2/info/import", None);
            assert_eq!(answer.status, if token.is_some() { 200 } else { 401 }, "{who}");
        }
    }

    /// Sends a request as somebody, with a JSON body or another.
    pub fn send(&self, who: &str, method: &str, path: &str, body: Option<Body<'_>>) -> Answer {
        let mut headers = vec![
            ("Host".to_string(), "glance.example:9292".to_string()),
            ("Accept".to_string(), "application/json".to_string()),
        ];
        if let Some(token) = self.people.token(who) {
            headers.push(("X-Auth-Token".to_string(), token.to_string()));
        }
        let (kind, bytes) = match body {
            None => return send(self.server, method, path, &headers, None),
            Some(Body::Data(bytes)) => ("application/octet-stream", bytes.to_vec()),
            Some(Body::Json(value)) if method == "PATCH" => {
                ("application/openstack-images-v2.1-json-patch", value.to_string().into_bytes())
            }
            Some(Body::Json(value)) => ("application/json", value.to_string().into_bytes()),
        };
        headers.push(("Content-Type".to_string(), kind.to_string()));
        send(self.server, method, path, &headers, Some(&bytes))
    }

    /// Does what the administrator may, and has to succeed.
    #[track_caller]
    pub fn must(&self, who: &str, method: &str, path: &str, body: Option<Body<'_>>) -> Value {
        let answer = self.send(who, method, path, body);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status < 300, "{who}: {method} {path}: {} {text}", answer.status);
        answer.json()
    }
}

/// What a request carries.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    Json(&'a Value),
    Data(&'a [u8]),
}

/// A real Glance with the configuration of a glancefs that does not run, on a new database.
pub fn real_glance(prepared: Glancefs) -> (GlanceApi, Glancefs) {
    let directory = prepared.directory().to_path_buf();
    let config = directory.join("glance-api.conf");
    let text = std::fs::read_to_string(&config).unwrap();
    let own = directory.display();
    let text = format!(
        "{text}\n[database]\nconnection = sqlite:///{own}/glance.sqlite\n\
         [os_glance_tasks_store]\nfilesystem_store_datadir = {own}/tasks\n\
         [paste_deploy]\nconfig_file = {}\n",
        glance_files("glance-api-paste.ini").display()
    );
    std::fs::write(&config, text).unwrap();
    for name in ["fast", "slow", "staging", "tasks", "cache"] {
        std::fs::create_dir_all(directory.join(name)).unwrap();
    }
    // The tables are Glance's own.
    drop(glancefs::catalog::sqlite::SqliteCatalog::open(directory.join("glance.sqlite")).unwrap());
    (GlanceApi::start(&directory), prepared)
}

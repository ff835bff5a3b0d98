//! What Keystone says of a token (`GET /v3/auth/tokens`), as an identity.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::identity::{ProjectId, RequestContext};

/// A token that is valid.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    /// Whom it stands for.
    pub(super) context: RequestContext,
    /// All roles that it gives, whatever for.
    roles: Vec<String>,
    /// Until when.
    pub(super) expires: Timestamp,
}

impl Accepted {
    /// The user, with this service at work.
    pub(super) fn served_by(&self, service: Option<&Self>) -> RequestContext {
        let roles = service.map(|service| service.roles.as_slice()).unwrap_or_default();
        let service_roles = roles.iter().map(|role| role.to_lowercase()).collect();
        RequestContext { service_roles, ..self.context.clone() }
    }

    pub(super) fn has_any_role(&self, wanted: &[String]) -> bool {
        self.roles.iter().any(|role| wanted.contains(role))
    }
}

/// The part of Keystone's answer that is used.
#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) token: Token,
}

#[derive(Deserialize)]
pub(super) struct Token {
    #[serde(deserialize_with = "time")]
    pub(super) expires_at: Timestamp,
    #[serde(deserialize_with = "time")]
    pub(super) issued_at: Timestamp,
    user: Named,
    project: Option<Named>,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    pub(super) catalog: Vec<Service>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
struct Role {
    name: String,
}

/// What Keystone answers who asks for the services that a token is for.
#[derive(Deserialize)]
pub(super) struct Catalog {
    pub(super) catalog: Vec<Service>,
}

/// A service in the catalog.
#[derive(Deserialize)]
pub(super) struct Service {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) endpoints: Vec<Endpoint>,
}

/// Where one is.
#[derive(Deserialize)]
pub(super) struct Endpoint {
    pub(super) interface: String,
    pub(super) region: Option<String>,
    pub(super) url: String,
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

impl From<Token> for Accepted {
    /// Roles count in a project only: Glance's rules are about projects, and whoever has rights for
    /// the system or for a domain has none here (oslo.policy: `enforce_scope`).
    fn from(token: Token) -> Self {
        let roles: Vec<String> = token.roles.into_iter().map(|role| role.name).collect();
        let project = token.project.map(|project| ProjectId::new(project.id));
        // Glance writes them in lower case.
        let lower = |role: &String| role.to_lowercase();
        let here: Vec<String> =
            if project.is_some() { roles.iter().map(lower).collect() } else { Vec::new() };
        let context = RequestContext {
            admin: here.iter().any(|role| role == "admin"),
            project,
            user: Some(token.user.id),
            roles: here,
            service_roles: Vec::new(),
            request_id: None,
        };
        Self { context, roles, expires: token.expires_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(scope: &str) -> Accepted {
        let text = format!(
            r#"{{"token": {{"methods": ["password"], "user": {{"id": "u", "name": "n"}},
            "expires_at": "2026-11-21T13:00:00.000000Z", "issued_at": "2026-11-21T12:00:00.000000Z",
            "roles": [{{"id": "1", "name": "Admin"}}, {{"id": "2", "name": "reader"}}], {scope}}}}}"#
        );
        Accepted::from(serde_json::from_str::<Answer>(&text).unwrap().token)
    }

    #[test]
    fn a_service_brings_its_roles_and_no_rights_of_its_own() {
        let user = accepted(r#""project": {"id": "p", "name": "n"}"#).context;
        let user = Accepted {
            context: RequestContext { admin: false, roles: vec!["reader".to_string()], ..user },
            ..accepted("\"system\": {\"all\": true}")
        };
        let service = accepted(r#""project": {"id": "s", "name": "service"}"#);
        let served = user.served_by(Some(&service));
        assert_eq!(served.service_roles, ["admin", "reader"]);
        assert!(served.is_served_by("Admin") && !served.has_role("admin") && !served.admin);
        assert_eq!(served.project, user.context.project);
        assert_eq!(user.served_by(None), user.context);
    }

    #[test]
    fn an_administrator_is_one_in_a_project() {
        let context = accepted(r#""project": {"id": "p", "name": "n"}"#).context;
        assert!(context.admin && context.has_role("reader"));
        assert_eq!(context.project, Some(ProjectId::new("p")));
        assert_eq!(context.user.as_deref(), Some("u"));
        for elsewhere in [r#""system": {"all": true}"#, r#""domain": {"id": "default"}"#] {
            let accepted = accepted(elsewhere);
            assert!(!accepted.context.admin && accepted.context.roles.is_empty());
            assert!(accepted.has_any_role(&["reader".to_owned()]));
        }
    }
}

//! The identity a request acts as.

use std::fmt;

/// A Keystone project (Glance: the `owner` of an image).  Opaque: any text up to 255 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectId(Box<str>);

impl ProjectId {
    /// Takes the id as it is.
    pub fn new(id: impl Into<Box<str>>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// On whose behalf something is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestContext {
    /// The project that owns what is created, and whose private images are visible.
    pub project: Option<ProjectId>,
    /// The user, for the record only.
    pub user: Option<String>,
    /// Role names, lower case.
    pub roles: Vec<String>,
    /// Role names, lower case, of the service that works for the user, where one does (Keystone:
    /// `X-Service-Token`).
    pub service_roles: Vec<String>,
    /// Sees and may change every project's images.
    pub admin: bool,
    /// The id of the request, for the record only.
    pub request_id: Option<String>,
}

impl RequestContext {
    /// The operator's own identity: what root's mount and the API without authentication act as.  Who
    /// is asked for no token may be a service, too.
    pub fn operator() -> Self {
        Self {
            project: None,
            user: None,
            roles: ["admin", "member", "reader", "service"].map(String::from).to_vec(),
            service_roles: Vec::new(),
            admin: true,
            request_id: None,
        }
    }

    /// A member of one project, without administrative rights.
    pub fn member_of(project: ProjectId) -> Self {
        Self {
            project: Some(project),
            user: None,
            roles: ["member", "reader"].map(String::from).to_vec(),
            service_roles: Vec::new(),
            admin: false,
            request_id: None,
        }
    }

    /// Whether it is a service of the cloud, such as Nova or Cinder (Keystone: the role `service`), or a
    /// user whom one works for.
    pub fn is_service(&self) -> bool {
        self.has_role("service") || self.is_served_by("service")
    }

    /// Whether a service with this role works for the user.
    pub fn is_served_by(&self, role: &str) -> bool {
        self.service_roles.iter().any(|held| held.eq_ignore_ascii_case(role))
    }

    /// Whether the identity has a role (case does not matter; Keystone: role names).
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held.eq_ignore_ascii_case(role))
    }
}

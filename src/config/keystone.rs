//! What the configuration says about Keystone: whether it is asked who sends a request
//! (`[paste_deploy] flavor`), and how to reach it (`[keystone_authtoken]`).
//!
//! The names are those of keystonemiddleware and keystoneauth, of today and of 2013.

use std::path::PathBuf;
use std::time::Duration;

use super::options::{self, ConfigOption};
use super::reader::{Found, Reader, bad_value};
use super::{absolute, count};
use crate::error::{Error, Result};
use crate::identity::Secret;

/// Parts of a flavor that there are.  Those beside `keystone` are about the image cache, which
/// `image_cache_dir` switches on here.
const FLAVORS: &[&str] = &["keystone", "caching", "cachemanagement", "cache"];

/// A Keystone, and who we are to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeystoneAccess {
    /// Where to get a token: a URL without a slash or a version at its end.  `auth_url`.
    pub auth_url: String,
    /// Who we are.
    pub credentials: Credentials,
    /// Which of Keystone's endpoints in its catalog is asked: `interface`.
    pub interface: String,
    /// In which region: `region_name`.
    pub region: Option<String>,
    /// How TLS is spoken.
    pub tls: TlsTrust,
    /// How long one answer may take: `http_connect_timeout`.
    pub timeout: Duration,
    /// How often a request is sent again when Keystone cannot be reached: `http_request_max_retries`.
    pub retries: u32,
}

/// How TLS is spoken with Keystone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsTrust {
    /// Who vouches for it (PEM); else those whom the system believes.
    pub cafile: Option<PathBuf>,
    /// Our own certificate and key (PEM).
    pub client: Option<(PathBuf, PathBuf)>,
    /// Nobody need vouch for it.
    pub insecure: bool,
}

/// A domain of Keystone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// By its id.
    Id(String),
    /// By its name.
    Name(String),
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A project, by its id.
    ProjectId(String),
    /// A project, by its name in a domain.
    Project(String, Domain),
    /// The whole system (`system_scope = all`).
    System,
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// `auth_type = password`
    Password {
        /// Its name.
        user: String,
        /// Where that name is.
        domain: Domain,
        /// Its password.
        password: Secret,
        /// What for.
        scope: Scope,
    },
    /// `auth_type = v3applicationcredential`
    Application {
        /// Its id.
        id: String,
        /// Its secret.
        secret: Secret,
    },
}

/// How tokens are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenChecks {
    /// Where and as whom.
    pub access: KeystoneAccess,
    /// Where who has no token is told to get one: `www_authenticate_uri`.
    pub www_authenticate_uri: String,
    /// For how long an answer holds, `None` to ask every time: `token_cache_time`.
    pub cache_time: Option<Duration>,
    /// Roles of services, for whose work a user's token may have expired: `service_token_roles`.
    pub service_roles: Vec<String>,
}

impl TokenChecks {
    /// What `flavor` asks for: `None` is no authentication.
    pub(super) fn read(reader: &mut Reader) -> Result<Option<Self>> {
        if !is_wanted(reader)? {
            return Ok(None);
        }
        let access = KeystoneAccess::read(reader, options::AUTH_URL.section)?;
        let told = reader.word(&options::WWW_AUTHENTICATE_URI)?;
        let seconds = reader.integer(&options::TOKEN_CACHE_TIME, -1..=i64::from(u32::MAX))?;
        Ok(Some(Self {
            www_authenticate_uri: told.unwrap_or_else(|| access.auth_url.clone()),
            access,
            cache_time: (seconds > 0).then(|| Duration::from_secs(seconds.unsigned_abs())),
            service_roles: reader.list(&options::SERVICE_TOKEN_ROLES)?,
        }))
    }
}

/// How limits of projects are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnifiedLimits {
    /// Where and as whom.
    pub access: KeystoneAccess,
    /// The endpoint of the Image API that limits are registered for: `endpoint_id`.
    pub endpoint: String,
}

impl UnifiedLimits {
    /// What `use_keystone_limits` asks for.
    pub(super) fn read(reader: &mut Reader) -> Result<Option<Self>> {
        if !reader.boolean(&options::USE_KEYSTONE_LIMITS)? {
            return Ok(None);
        }
        let section = options::ENDPOINT_ID.section;
        let access = KeystoneAccess::read(reader, section)?;
        let endpoint = Section { reader, name: section }.required(&options::ENDPOINT_ID)?;
        Ok(Some(Self { access, endpoint }))
    }
}

/// Whether `flavor` has Keystone in it.
pub(super) fn is_wanted(reader: &mut Reader) -> Result<bool> {
    let Some(found) = reader.text(&options::FLAVOR)? else { return Ok(false) };
    let parts: Vec<_> = found.text.split('+').map(|part| part.trim().to_lowercase()).collect();
    if parts.iter().any(|part| !part.is_empty() && !FLAVORS.contains(&part.as_str())) {
        let wanted = "write keystone, keystone+cachemanagement, or nothing for no authentication";
        return Err(bad_value(&options::FLAVOR, Some(&found), wanted));
    }
    Ok(parts.iter().any(|part| part == "keystone"))
}

/// The options of one section.  Those of `[keystone_authtoken]` are read in others by the same names.
struct Section<'r, 's> {
    reader: &'r mut Reader,
    name: &'s str,
}

impl Section<'_, '_> {
    fn text(&mut self, option: &ConfigOption) -> Result<Option<Found>> {
        if option.section == self.name {
            self.reader.text(option)
        } else {
            self.reader.text_in(self.name, option)
        }
    }

    fn word(&mut self, option: &ConfigOption) -> Result<Option<String>> {
        Ok(Reader::as_word(self.text(option)?))
    }

    fn required(&mut self, option: &ConfigOption) -> Result<String> {
        self.word(option)?.ok_or_else(|| {
            Error::Config(format!("[{}] {} is missing; Keystone needs it", self.name, option.name))
        })
    }

    fn file(&mut self, option: &ConfigOption) -> Result<Option<PathBuf>> {
        self.word(option)?.map(absolute).transpose()
    }
}

impl KeystoneAccess {
    /// What a section says.
    pub(super) fn read(reader: &mut Reader, section: &str) -> Result<Self> {
        let timeout = reader.integer(&options::HTTP_CONNECT_TIMEOUT, 1..=600)?.unsigned_abs();
        let retries = count(reader, &options::HTTP_REQUEST_MAX_RETRIES, 0)?.min(10);
        let section = &mut Section { reader, name: section };
        let interface = section.word(&options::INTERFACE)?.unwrap_or_default();
        Ok(Self {
            auth_url: auth_url(section)?,
            credentials: credentials(section)?,
            interface: interface.trim_end_matches("URL").to_owned(),
            region: section.word(&options::REGION_NAME)?,
            tls: tls(section)?,
            timeout: Duration::from_secs(timeout),
            retries,
        })
    }
}

/// Of today, or in the parts of 2013.
fn auth_url(section: &mut Section<'_, '_>) -> Result<String> {
    let parts = [&options::AUTH_PROTOCOL, &options::AUTH_HOST, &options::AUTH_PORT];
    let [protocol, host, port] = [
        section.word(parts[0])?.unwrap_or_default(),
        section.word(parts[1])?.unwrap_or_default(),
        section.word(parts[2])?.unwrap_or_default(),
    ];
    let url = match section.text(&options::AUTH_URL)? {
        Some(found) if !found.text.trim().is_empty() => found,
        _ if host.is_empty() => return section.required(&options::AUTH_URL),
        _ => Found::derived(&options::AUTH_URL, format!("{protocol}://{host}:{port}"), None),
    };
    let text = url.text.trim().trim_end_matches('/');
    let text = ["/v3", "/v2.0"].iter().find_map(|v| text.strip_suffix(v)).unwrap_or(text);
    let is_http = |url: &url::Url| ["http", "https"].contains(&url.scheme()) && url.has_host();
    // A password in a URL would be shown with it.
    let plain = |url: &url::Url| url.username().is_empty() && url.password().is_none();
    match url::Url::parse(text) {
        Ok(parsed) if is_http(&parsed) && plain(&parsed) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(bad_value(&options::AUTH_URL, Some(&url), "write a URL as http://host:5000")),
    }
}

fn credentials(section: &mut Section<'_, '_>) -> Result<Credentials> {
    let kind = section.text(&options::AUTH_TYPE)?;
    match kind.as_ref().map_or("", |found| found.text.trim()) {
        "" | "password" | "v3password" => Ok(Credentials::Password {
            user: section.required(&options::USERNAME)?,
            domain: domain(section, &options::USER_DOMAIN_ID, &options::USER_DOMAIN_NAME)?,
            password: Secret::new(section.required(&options::PASSWORD)?),
            scope: scope(section)?,
        }),
        "v3applicationcredential" => Ok(Credentials::Application {
            id: section.required(&options::APPLICATION_ID)?,
            secret: Secret::new(section.required(&options::APPLICATION_SECRET)?),
        }),
        _ => Err(bad_value(
            &options::AUTH_TYPE,
            kind.as_ref(),
            "write password, v3password or v3applicationcredential",
        )),
    }
}

fn scope(section: &mut Section<'_, '_>) -> Result<Scope> {
    if section.word(&options::SYSTEM_SCOPE)?.is_some() {
        return Ok(Scope::System);
    }
    if let Some(id) = section.word(&options::PROJECT_ID)? {
        return Ok(Scope::ProjectId(id));
    }
    let name = section.required(&options::PROJECT_NAME)?;
    let domain = domain(section, &options::PROJECT_DOMAIN_ID, &options::PROJECT_DOMAIN_NAME)?;
    Ok(Scope::Project(name, domain))
}

/// The domain of the names, where nothing is said the one that every Keystone has.
fn domain(section: &mut Section<'_, '_>, id: &ConfigOption, name: &ConfigOption) -> Result<Domain> {
    if let Some(id) = section.word(id)? {
        return Ok(Domain::Id(id));
    }
    Ok(match section.word(name)? {
        Some(name) => Domain::Name(name),
        None => Domain::Id("default".to_owned()),
    })
}

fn tls(section: &mut Section<'_, '_>) -> Result<TlsTrust> {
    let insecure = section.text(&options::INSECURE)?;
    let client = match (section.file(&options::CERTFILE)?, section.file(&options::KEYFILE)?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        // As in OpenStack, the key may be in the certificate's file.
        (Some(both), None) => Some((both.clone(), both)),
        (None, _) => None,
    };
    Ok(TlsTrust {
        cafile: section.file(&options::CAFILE)?,
        client,
        insecure: Reader::as_boolean(&options::INSECURE, insecure)?,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::ini;
    use super::*;

    fn read(text: &str) -> Result<Option<TokenChecks>> {
        let file = ini::parse(Path::new("glance-api.conf"), text)?;
        TokenChecks::read(&mut Reader::of(vec![file]))
    }

    fn password(user: &str, password: &str, domain: Domain, scope: Scope) -> Credentials {
        let password = Secret::new(password);
        Credentials::Password { user: user.to_owned(), domain, password, scope }
    }

    #[test]
    fn a_file_of_today_is_understood() {
        let checks = read(
            "[keystone_authtoken]\n\
             www_authenticate_uri=http://192.168.0.11:5000/v3\nauth_type=password\n\
             auth_url=http://192.168.0.11:5000/v3/\nusername=glance\npassword=s3cret\n\
             user_domain_name=Default\nproject_name=services\nproject_domain_name=Default\n\
             token_cache_time=-1\n[paste_deploy]\nflavor=keystone+cachemanagement\n",
        );
        let checks = checks.unwrap().unwrap();
        assert_eq!(checks.www_authenticate_uri, "http://192.168.0.11:5000/v3");
        assert_eq!(checks.access.auth_url, "http://192.168.0.11:5000");
        assert_eq!(checks.cache_time, None);
        assert_eq!(checks.service_roles, ["service"]);
        assert_eq!(checks.access.interface, "internal");
        let domain = || Domain::Name("Default".to_owned());
        let scope = Scope::Project("services".to_owned(), domain());
        assert_eq!(checks.access.credentials, password("glance", "s3cret", domain(), scope));
        assert!(!format!("{checks:?}").contains("s3cret"));
    }

    #[test]
    fn the_names_of_2013_are_understood() {
        let user = "admin_tenant_name = service\nadmin_user = glance\nadmin_password = asdasd\n\
                    [paste_deploy]\nflavor = keystone\n";
        let parts = format!(
            "[keystone_authtoken]\nauth_host = 192.168.1.150\nauth_port = 35357\n\
             auth_protocol = http\n{user}"
        );
        let checks = read(&parts).unwrap().unwrap();
        assert_eq!(checks.access.auth_url, "http://192.168.1.150:35357");
        let domain = || Domain::Id("default".to_owned());
        let scope = Scope::Project("service".to_owned(), domain());
        assert_eq!(checks.access.credentials, password("glance", "asdasd", domain(), scope));
        let uris = format!(
            "[keystone_authtoken]\nauth_uri = http://controller:5000/v2.0\n\
             identity_uri = http://controller:35357\n{user}"
        );
        let checks = read(&uris).unwrap().unwrap();
        assert_eq!(checks.access.auth_url, "http://controller:35357");
        assert_eq!(checks.www_authenticate_uri, "http://controller:5000/v2.0");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_and_nothing_secret_shown() {
        let whole = "[paste_deploy]\nflavor = keystone\n[keystone_authtoken]\n\
                     auth_url = http://k:5000\nusername = glance\npassword = s3cret\n";
        for (text, named) in [
            ("[paste_deploy]\nflavor = keystone\n".to_owned(), "[keystone_authtoken] auth_url"),
            (whole.to_owned(), "[keystone_authtoken] project_name"),
            (format!("{whole}project_name = p\nauth_type = v2token\n"), "auth_type"),
            (whole.replace("http://k", "http://a:s3cret@k"), "auth_url"),
            ("[paste_deploy]\nflavor = trusted-auth\n".to_owned(), "flavor"),
        ] {
            let message = read(&text).unwrap_err().to_string();
            assert!(message.contains(named) && !message.contains("s3cret"), "{message}");
        }
        assert_eq!(read("[paste_deploy]\nflavor = caching\n").unwrap(), None);
    }
}

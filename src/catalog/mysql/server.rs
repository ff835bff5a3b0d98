//! Which server, and how to talk to it: SQLAlchemy's URL of a database, and oslo.db's options.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mysql::{ClientIdentity, SslOpts};
use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};

const LOCAL: &str = "localhost";
const PORT: u16 = 3306;

/// A text that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one that it is meant for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A server, the database on it, and how to get there.  Shown without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name or address; without effect when there is a socket.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// A Unix socket in the place of the host.
    pub socket: Option<String>,
    /// Who we are.
    pub user: String,
    /// The proof of it.
    pub password: Option<Secret>,
    /// The database.
    pub database: String,
    /// How TLS is spoken; `None`: not at all.
    pub tls: Option<Tls>,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long the server may be silent when it is asked.
    pub answer_timeout: Duration,
    /// The age at which connections are given up; `None`: never.
    pub recycle: Option<Duration>,
    /// Connections that are kept.
    pub max_pool_size: usize,
    /// Connections beyond those.
    pub max_overflow: usize,
    /// How often the first connection is tried again; `None`: for ever.
    pub max_retries: Option<u32>,
    /// How long to wait in between.
    pub retry_interval: Duration,
    /// Galera's `wsrep_sync_wait`, if it is to be set.
    pub wsrep_sync_wait: Option<u32>,
}

/// How TLS is spoken, as PyMySQL takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates that the server's must be signed by; without, the server's is not checked.
    pub ca: Option<PathBuf>,
    /// Our own certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Whether the server's certificate must be for the host that was asked for.
    pub check_hostname: bool,
}

impl Tls {
    pub(super) fn options(&self) -> SslOpts {
        let identity = self.cert.clone().zip(self.key.clone());
        let identity = identity.map(|(cert, key)| ClientIdentity::new(cert, key));
        SslOpts::default()
            .with_root_cert_path(self.ca.clone())
            .with_client_identity(identity)
            .with_danger_accept_invalid_certs(self.ca.is_none())
            .with_danger_skip_domain_validation(!self.check_hostname)
    }
}

impl Server {
    /// Connections at once, when the configuration sets no limit.
    pub const MOST_CONNECTIONS: usize = 1000;

    /// Whether a URL is of a server of this kind: `mysql://`, `mysql+pymysql://` and the like.
    pub fn is_meant(url: &str) -> bool {
        let scheme = url.split("://").next().unwrap_or_default();
        let dialect = scheme.split('+').next().unwrap_or_default();
        matches!(dialect, "mysql" | "mariadb")
    }

    /// Reads `mysql[+driver]://user[:password]@host[:port]/database[?option=value…]`, with oslo.db's
    /// defaults for all that it does not say.
    ///
    /// # Errors
    /// `Config`: what is wrong with it, without its password.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::Config(format!("the URL of the database {why}"));
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let (_, rest) = text.split_once("://").ok_or_else(|| wrong("is no URL"))?;
        let (user, password, rest) = user_info(rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        if database.is_empty() {
            return Err(wrong("names no database: mysql://user:password@host/glance"));
        }
        let (host, port) = host_and_port(place);
        let port = port.map(str::parse).transpose();
        let mut server = Self {
            host: Some(decoded(host)).filter(|host| !host.is_empty()).unwrap_or(LOCAL.to_string()),
            port: port.map_err(|_| wrong("has a port that is none"))?.unwrap_or(PORT),
            user: decoded(user),
            password: password.map(|word| Secret(decoded(word))),
            database: database.to_string(),
            ..Self::default()
        };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let refused = |why| wrong(&format!("{why}: {name}"));
            server.set(&name, &value).map_err(refused)?;
        }
        Ok(server)
    }

    /// One option of the URL, as PyMySQL knows it.
    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        let seconds = || {
            let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
            seconds.map(Duration::from_secs).ok_or("has an option that is no number of seconds")
        };
        let tls = || Tls { check_hostname: true, ..Tls::default() };
        match name {
            // All of Unicode is spoken, whatever the tables hold.
            "charset" | "use_unicode" | "binary_prefix" => {}
            "user" => self.user = value.to_string(),
            "password" | "passwd" => self.password = Some(Secret::new(value)),
            "unix_socket" => self.socket = Some(value.to_string()),
            "connect_timeout" => self.connect_timeout = seconds()?,
            "read_timeout" | "write_timeout" => self.answer_timeout = seconds()?,
            "ssl_ca" => self.tls.get_or_insert_with(tls).ca = Some(value.into()),
            "ssl_cert" => self.tls.get_or_insert_with(tls).cert = Some(value.into()),
            "ssl_key" => self.tls.get_or_insert_with(tls).key = Some(value.into()),
            "ssl_check_hostname" | "ssl_verify_identity" => {
                let check = !matches!(value, "0" | "false" | "False" | "no");
                self.tls.get_or_insert_with(tls).check_hostname = check;
            }
            "ssl_verify_cert" | "ssl" => drop(self.tls.get_or_insert_with(tls)),
            _ => return Err("has an option that is not known here"),
        }
        Ok(())
    }
}

/// User and password, and what follows them.  As SQLAlchemy has it, a password may hold all but
/// `@` as it is.
fn user_info(text: &str) -> (&str, Option<&str>, &str) {
    let Some((info, rest)) = text.split_once('@') else { return ("", None, text) };
    match info.split_once(':') {
        Some((user, password)) if !user.contains('/') => (user, Some(password), rest),
        None if !info.contains('/') => (info, None, rest),
        _ => ("", None, text),
    }
}

fn host_and_port(place: &str) -> (&str, Option<&str>) {
    if let Some((address, rest)) = place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':'));
    }
    place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)))
}

impl Default for Server {
    /// oslo.db's and PyMySQL's defaults.
    fn default() -> Self {
        Self {
            host: LOCAL.to_string(),
            port: PORT,
            socket: None,
            user: String::new(),
            password: None,
            database: String::new(),
            tls: None,
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
            recycle: Some(Duration::from_secs(3600)),
            max_pool_size: 5,
            max_overflow: 50,
            max_retries: Some(10),
            retry_interval: Duration::from_secs(10),
            wsrep_sync_wait: None,
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(socket) => write!(f, "mysql://{}@{socket}/{}", self.user, self.database),
            None => {
                write!(f, "mysql://{}@{}:{}/{}", self.user, self.host, self.port, self.database)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_as_sqlalchemy_reads_it() {
        let text = "mysql+pymysql://glance:p%40ss%3Aw%2Frd%25@controller/glance?charset=utf8";
        let server = Server::parse(text).unwrap();
        assert_eq!((&*server.host, server.port, &*server.database), ("controller", 3306, "glance"));
        assert_eq!(server.password.as_ref().map(Secret::reveal), Some("p@ss:w/rd%"));
        assert_eq!(server.tls, None);
        let text =
            "mysql://g@10.0.0.1:3307/db?ssl_ca=/ca.pem&ssl_cert=/c&ssl_key=/k&read_timeout=7";
        let server = Server::parse(text).unwrap();
        assert_eq!((&*server.host, server.port, server.password), ("10.0.0.1", 3307, None));
        assert_eq!(server.answer_timeout, Duration::from_secs(7));
        let tls = server.tls.unwrap();
        assert_eq!((tls.ca, tls.check_hostname), (Some("/ca.pem".into()), true));
        let server = Server::parse("mysql://g:a/b#c?d:e@[::1]:3307/db").unwrap();
        assert_eq!((&*server.host, server.port, &*server.database), ("::1", 3307, "db"));
        assert_eq!(server.password.as_ref().map(Secret::reveal), Some("a/b#c?d:e"));
        let server = Server::parse("mysql:///db?unix_socket=/run/s").unwrap();
        assert_eq!((&*server.host, server.socket.as_deref()), ("localhost", Some("/run/s")));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for text in [
            "mysql://g:secret@host",
            "mysql://g:secret@host/db?pool=7",
            "mysql://g:secret@host:99999/db",
            "mysql://g:secret@host/db?connect_timeout=0",
        ] {
            let why = Server::parse(text).unwrap_err().to_string();
            assert!(!why.contains("secret"), "{why}");
        }
        let server = Server::parse("mysql://g:secret@host/db").unwrap();
        assert!(!format!("{server} {server:?}").contains("secret"));
    }

    #[test]
    fn only_these_dialects_are_meant() {
        assert!(Server::is_meant("mysql+pymysql://x") && Server::is_meant("mysql://x"));
        assert!(Server::is_meant("mariadb+mysqldb://x"));
        assert!(!Server::is_meant("postgresql://x") && !Server::is_meant("sqlite:///x"));
    }
}

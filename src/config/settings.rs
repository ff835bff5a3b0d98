//! What is in force, option by option, and where it was said: for `glancefs config`.
//!
//! Values are shown with their secrets masked; the values themselves are kept as they are.

use std::fmt;

use super::ini::Place;
use super::options::{ConfigOption, OPTIONS};

/// What an option was worked out to be.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// The section that it is in force for: the option's own, or that of a store.
    pub section: String,
    /// The option.
    pub name: &'static str,
    /// Its text, `None` when there is neither a value nor a fixed default.
    pub value: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No file says it.
    Default,
    /// A file says it.
    File {
        /// Where.
        place: Place,
        /// `[section] name` as it is written there, when that is an older spelling.
        spelled: Option<String>,
    },
    /// The command line wins.
    CommandLine(&'static str),
}

impl Setting {
    /// The value as it may be shown to anybody.
    pub fn shown(&self) -> Option<String> {
        self.value.as_ref().map(|value| masked(self.name, value))
    }

    fn option(&self) -> Option<usize> {
        let own = |o: &ConfigOption| o.section == self.section && o.name == self.name;
        OPTIONS.iter().position(own)
    }
}

impl fmt::Debug for Setting {
    /// As it may be shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {} = {:?} ({})", self.section, self.name, self.shown(), self.origin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { place, spelled: None } => write!(f, "{place}"),
            Self::File { place, spelled: Some(spelled) } => write!(f, "{place}, as {spelled}"),
            Self::CommandLine(option) => write!(f, "command line, {option}"),
        }
    }
}

/// As a configuration file, in the order of the manual page, sections of stores at the end; with
/// `origin`, above each option where it comes from.  Reading it back gives the same, but for secrets.
pub fn as_file(settings: &[Setting], origin: bool) -> String {
    let mut ordered: Vec<_> = settings.iter().collect();
    ordered.sort_by_key(|setting| setting.option().unwrap_or(usize::MAX));
    let mut text = String::new();
    let mut section = None;
    for setting in ordered {
        if section != Some(&setting.section) {
            let gap = if section.is_some() { "\n" } else { "" };
            text.push_str(&format!("{gap}[{}]\n", setting.section));
            section = Some(&setting.section);
        }
        if origin {
            text.push_str(&format!("# {}\n", setting.origin));
        }
        text.push_str(&line(setting));
    }
    text
}

fn line(setting: &Setting) -> String {
    let name = setting.name;
    if let Some(value) = setting.shown() {
        // Lines of a value begin with white space; a `$` and quotes have a meaning.
        let value = value.replace('$', "$$").replace('\n', "\n  ");
        let value = if value.starts_with(' ') { format!("\"{value}\"") } else { value };
        return format!("{name} = {value}\n").replace(" = \n", " =\n");
    }
    let described = setting.option().and_then(|index| OPTIONS.get(index));
    match described.filter(|option| !option.has_fixed_default()) {
        Some(option) => format!("# {name} = {}\n", option.default),
        None => format!("# {name} =\n"),
    }
}

/// The value of an option without what must not be told.
pub fn masked(name: &str, value: &str) -> String {
    let secret = ["password", "secret", "passphrase"];
    let is_key = name.ends_with("_key") || name == "key" || name.ends_with("_token");
    if !value.is_empty() && (is_key || secret.iter().any(|word| name.contains(word))) {
        return "***".to_owned();
    }
    match name {
        "transport_url" => mask_transport_url(value),
        "notification_webhook" => mask_path(value),
        _ => mask_url(value),
    }
}

/// The passwords of a message bus with several hosts; all of it where somebody forgot to escape.
fn mask_transport_url(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let (hosts, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if path.contains('@') {
        return "***".to_owned();
    }
    let masked = hosts.split(',').map(|host| match host.rsplit_once('@') {
        Some((user, place)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:***@{place}"),
            None => host.to_owned(),
        },
        None => host.to_owned(),
    });
    format!("{scheme}://{}{path}", masked.collect::<Vec<_>>().join(","))
}

/// Of a place that takes notifications, all but the host: what is behind it often is the secret.
fn mask_path(value: &str) -> String {
    let Ok(url) = url::Url::parse(value) else { return "***".to_owned() };
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{}://{host}:{port}/***", url.scheme()),
        (Some(host), None) => format!("{}://{host}/***", url.scheme()),
        _ => "***".to_owned(),
    }
}

/// The password of a URL: from the first colon after `//` to the last `@` of that part.
fn mask_url(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    // A password may have a slash that nobody has escaped.
    let at = rest[..end].rfind('@').or_else(|| rest.rfind('@'));
    match at.and_then(|at| Some((rest[..at].find(':')?, at))) {
        Some((colon, at)) => format!("{scheme}://{}:***{}", &rest[..colon], &rest[at..]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        assert_eq!(
            masked("connection", "mysql://glance:s3cret@db/glance"),
            "mysql://glance:***@db/glance"
        );
        assert_eq!(masked("connection", "mysql://glance:a/b@c@db/x"), "mysql://glance:***@db/x");
        assert_eq!(masked("connection", "sqlite:////srv/a@b:c"), "sqlite:////srv/a@b:c");
        assert_eq!(masked("password", "s3cret"), "***");
        assert_eq!(
            masked("transport_url", "rabbit://u:p%40a@one:1,u2:p:q@two,three:3/vhost?ssl=1"),
            "rabbit://u:***@one:1,u2:***@two,three:3/vhost?ssl=1"
        );
        assert_eq!(masked("transport_url", "rabbit://u:a/b@c/vhost"), "***");
        assert_eq!(masked("transport_url", "rabbit://"), "rabbit://");
        assert_eq!(
            masked("notification_webhook", "https://u:p@hooks.example/T0/s3cret?key=s3cret"),
            "https://hooks.example/***"
        );
        assert_eq!(masked("swift_store_key", "s3cret"), "***");
        assert_eq!(masked("key_file", "/etc/key.pem"), "/etc/key.pem");
        assert_eq!(masked("password", ""), "");
    }

    #[test]
    fn what_is_shown_names_its_origin() {
        let place = Place { file: "g.conf".into(), line: 3 };
        let spelled = Some("[DEFAULT] sql_connection".to_owned());
        let settings = [
            Setting {
                section: "database".into(),
                name: "connection",
                value: Some("mysql://a:b@c/d".into()),
                origin: Origin::File { place, spelled },
            },
            Setting {
                section: "DEFAULT".into(),
                name: "bind_port",
                value: Some("9292".into()),
                origin: Origin::Default,
            },
        ];
        assert_eq!(
            as_file(&settings, true),
            "[DEFAULT]\n# default\nbind_port = 9292\n\n[database]\n\
             # g.conf:3, as [DEFAULT] sql_connection\nconnection = mysql://a:***@c/d\n"
        );
    }
}

//! What the configuration says about notifications: which of them go where.
//!
//! The names are those of oslo.messaging, of today and of the years when each service had its own copy
//! of it.  Where the bus is, and how it is spoken to, is in [`bus`].

pub mod bus;

use std::path::PathBuf;

use super::options;
use super::reader::{Found, Reader, bad_value};
use super::{absolute, count};
use crate::error::Result;
use crate::identity::Secret;
use bus::Bus;

/// Which notifications go where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notifications {
    /// Who they are from.  `default_publisher_id`.
    pub publisher_id: String,
    /// Events, and groups of events, that nobody is told of.  `disabled_notifications`.
    pub disabled: Vec<String>,
    /// Whether they are logged.
    pub log: bool,
    /// The message bus, where they go there.
    pub bus: Option<Bus>,
    /// A file that they are appended to.  `[glancefs] notification_file`.
    pub file: Option<PathBuf>,
    /// A URL that they are posted to.  `[glancefs] notification_webhook`.
    pub webhook: Option<Secret>,
    /// How many may wait for each of these.  `[glancefs] notification_backlog`.
    pub backlog: usize,
}

/// How a notification is written for the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As it is: oslo's `messaging`.
    Bare,
    /// In oslo's envelope of version 2.0: `messagingv2`.
    Enveloped,
}

enum Driver {
    Bus(Format),
    Log,
    Nowhere,
}

impl Notifications {
    pub(super) fn read(reader: &mut Reader) -> Result<Self> {
        let mut notifications = Self {
            publisher_id: reader.word(&options::PUBLISHER_ID)?.unwrap_or_default(),
            disabled: reader.list(&options::DISABLED_NOTIFICATIONS)?,
            file: reader.word(&options::NOTIFICATION_FILE)?.map(absolute).transpose()?,
            webhook: webhook(reader)?,
            backlog: count(reader, &options::NOTIFICATION_BACKLOG, 1)? as usize,
            ..Self::default()
        };
        let mut formats = Vec::new();
        for name in reader.every(&options::NOTIFICATION_DRIVER)? {
            match driver(&name) {
                Some(Driver::Log) => notifications.log = true,
                Some(Driver::Bus(format)) if !formats.contains(&format) => formats.push(format),
                Some(Driver::Bus(_) | Driver::Nowhere) => {}
                None => reader.notes.push(format!(
                    "{}: there is no driver '{name}' here: no notifications go there",
                    options::NOTIFICATION_DRIVER
                )),
            }
        }
        notifications.bus = Bus::read(reader, formats)?;
        Ok(notifications)
    }
}

/// Today's names; those of the modules of 2013 and 2014, by their last part; and the words of
/// `notifier_strategy`.
fn driver(name: &str) -> Option<Driver> {
    match name.rsplit('.').next().unwrap_or(name) {
        "messagingv2" | "rpc_notifier2" => Some(Driver::Bus(Format::Enveloped)),
        "messaging" | "rpc_notifier" | "rabbit" => Some(Driver::Bus(Format::Bare)),
        "log" | "log_notifier" | "logging" => Some(Driver::Log),
        "noop" | "no_op_notifier" | "default" => Some(Driver::Nowhere),
        _ => None,
    }
}

fn webhook(reader: &mut Reader) -> Result<Option<Secret>> {
    let found = reader.text(&options::NOTIFICATION_WEBHOOK)?;
    let place = found.as_ref().and_then(|found| found.place.clone());
    let Some(url) = Reader::as_word(found) else { return Ok(None) };
    let fits = url::Url::parse(&url)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !fits {
        let found = Found::derived(&options::NOTIFICATION_WEBHOOK, url, place);
        let wanted = "write a URL as https://host/path";
        return Err(bad_value(&options::NOTIFICATION_WEBHOOK, Some(&found), wanted));
    }
    Ok(Some(Secret::new(url)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::ini;
    use super::*;

    fn read(text: &str) -> (Notifications, Vec<String>) {
        let mut reader = Reader::of(vec![ini::parse(Path::new("g.conf"), text).unwrap()]);
        (Notifications::read(&mut reader).unwrap(), reader.notes)
    }

    #[test]
    fn nothing_goes_anywhere_by_default() {
        let (notifications, notes) = read("[DEFAULT]\ntransport_url = rabbit://a:b@c/\n");
        let expected = Notifications {
            publisher_id: "image.localhost".to_owned(),
            backlog: 10_000,
            ..Notifications::default()
        };
        assert_eq!((notifications, notes.len()), (expected, 0));
    }

    #[test]
    fn drivers_of_all_years_are_known_and_others_named() {
        let formats = |driver: &str| {
            let (notifications, _) = read(&format!("[DEFAULT]\nnotification_driver = {driver}\n"));
            notifications.bus.map(|bus| bus.formats)
        };
        assert_eq!(formats("messagingv2"), Some(vec![Format::Enveloped]));
        let module = "glance.openstack.common.notifier.rpc_notifier";
        assert_eq!(formats(module), Some(vec![Format::Bare]));
        assert_eq!(formats("noop"), None);
        let (_, notes) = read("[oslo_messaging_notifications]\ndriver = routing\ndriver = log\n");
        assert!(notes[0].contains("'routing'"), "{notes:?}");
        let (old, _) = read("[DEFAULT]\nnotifier_strategy = rabbit\nrabbit_host = b\n");
        assert_eq!(old.bus.unwrap().formats, [Format::Bare]);
    }

    #[test]
    fn a_webhook_has_to_be_a_url_of_the_web() {
        let read = |url: &str| {
            let text = format!("[glancefs]\nnotification_webhook = {url}\n");
            let mut reader = Reader::of(vec![ini::parse(Path::new("g.conf"), &text).unwrap()]);
            Notifications::read(&mut reader)
        };
        assert!(read("https://u:p@hooks.example/x?y=z").unwrap().webhook.is_some());
        for url in ["hooks.example/x", "file:///x", "ftp://x"] {
            let error = read(url).unwrap_err().to_string();
            assert!(
                error.contains("notification_webhook") && error.contains("g.conf:2"),
                "{error}"
            );
        }
    }
}

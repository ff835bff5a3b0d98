//! Where the message bus is, and how it is spoken to.
//!
//! `transport_url` says it, as oslo.messaging takes it apart: several hosts, names and passwords with
//! `%nn`, options of `[oslo_messaging_rabbit]` after a `?`.  Without one, the options of 2013 do.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::Format;
use crate::config::absolute;
use crate::config::options::{self, ConfigOption};
use crate::config::reader::{Found, Reader, bad_value};
use crate::error::{Error, Result};
use crate::identity::Secret;

/// The port of AMQP.
const PORT: u16 = 5672;

/// A message bus, and what is sent there how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bus {
    /// Each notification is sent in each of these.
    pub formats: Vec<Format>,
    /// What queues and routing keys begin with.  `topics`.
    pub topics: Vec<String>,
    /// The exchange.  `control_exchange`.
    pub exchange: String,
    /// How often a notification is tried again, `None` for ever.  `retry`.
    pub retry: Option<u32>,
    /// The brokers, in the order in which they are tried; there is one at least.
    pub brokers: Vec<Broker>,
    /// The virtual host.
    pub virtual_host: String,
    /// TLS, if it is spoken.
    pub tls: Option<BusTls>,
    /// How exchanges and queues are made.
    pub queues: Queues,
    /// Seconds without a sign of life that a broker may let pass; 0: any number.
    pub heartbeat: u16,
    /// How long to wait before brokers that could not be reached are tried again.
    pub pauses: Pauses,
}

/// One broker, and who we are to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Our name.
    pub user: String,
    /// And the password.
    pub password: Secret,
}

/// How TLS is spoken with a bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusTls {
    /// Who vouches for it (PEM); else those whom the system believes.
    pub authorities: Option<PathBuf>,
    /// Our own certificate and key (PEM).
    pub client: Option<(PathBuf, PathBuf)>,
}

/// How exchanges and queues are made, where they are not there yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// They survive the broker's restart.
    pub durable: bool,
    /// They go with their last user.
    pub auto_delete: bool,
    /// Words of the queues' declaration: `x-queue-type` and the like.
    pub words: Vec<(&'static str, &'static str)>,
    /// Numbers of it.
    pub numbers: Vec<(&'static str, i64)>,
}

/// How long to wait between attempts: a little longer each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// The first time.
    pub first: Duration,
    /// By how much more each further time.
    pub step: Duration,
    /// And at most.
    pub longest: Duration,
}

impl Bus {
    /// What the configuration says of the bus; `None` where nothing is to be sent there.  All is read even so,
    /// lest a mistake stay hidden until then.
    pub(super) fn read(reader: &mut Reader, formats: Vec<Format>) -> Result<Option<Self>> {
        let transport = transport(reader)?;
        let mut options = Options { reader, query: &transport.query };
        let bus = Self {
            topics: options.reader.list(&options::NOTIFICATION_TOPICS)?,
            exchange: options.reader.word(&options::CONTROL_EXCHANGE)?.unwrap_or_default(),
            retry: u32::try_from(options.number(&options::NOTIFICATION_RETRY, -1)?).ok(),
            tls: tls(&mut options)?,
            queues: queues(&mut options)?,
            heartbeat: options
                .number(&options::RABBIT_HEARTBEAT, 0)?
                .try_into()
                .unwrap_or(u16::MAX),
            pauses: Pauses {
                first: options.seconds(&options::RABBIT_RETRY_INTERVAL, 1)?,
                step: options.seconds(&options::RABBIT_RETRY_BACKOFF, 0)?,
                longest: options.seconds(&options::RABBIT_INTERVAL_MAX, 1)?,
            },
            formats,
            brokers: transport.brokers,
            virtual_host: transport.virtual_host,
        };
        if bus.formats.is_empty() {
            return Ok(None);
        }
        if bus.brokers.is_empty() {
            reader.notes.push(format!(
                "{} is no RabbitMQ's (rabbit://…): no notifications go there",
                options::TRANSPORT_URL
            ));
            return Ok(None);
        }
        Ok(Some(bus))
    }
}

/// A bus as a URL has it.
struct Transport {
    /// None when it is another kind of bus.
    brokers: Vec<Broker>,
    virtual_host: String,
    query: HashMap<String, String>,
}

fn transport(reader: &mut Reader) -> Result<Transport> {
    let older = older_options(reader)?;
    let general = reader.text(&options::TRANSPORT_URL)?;
    let own = reader.text(&options::NOTIFICATION_URL)?;
    for (option, found) in [(&options::NOTIFICATION_URL, own), (&options::TRANSPORT_URL, general)] {
        if let Some(found) = found.filter(|found| !found.text.trim().is_empty()) {
            return from_url(found.text.trim())
                .map_err(|wanted| bad_value(option, Some(&found), wanted));
        }
    }
    Ok(older)
}

/// `rabbit_hosts` and those beside it.
fn older_options(reader: &mut Reader) -> Result<Transport> {
    let hosts = reader.list(&options::RABBIT_HOSTS)?;
    let host = reader.word(&options::RABBIT_HOST)?;
    let port = reader.integer(&options::RABBIT_PORT, 1..=i64::from(u16::MAX))?;
    let port = u16::try_from(port).unwrap_or(PORT);
    let user = reader.word(&options::RABBIT_USERID)?.unwrap_or_default();
    let password = reader.text(&options::RABBIT_PASSWORD)?.map(|found| found.text);
    let password = Secret::new(password.unwrap_or_default());
    let virtual_host = reader.word(&options::RABBIT_VIRTUAL_HOST)?.unwrap_or_default();
    let hosts = if hosts.is_empty() { host.into_iter().collect() } else { hosts };
    let broker = |place: &String| {
        let (host, port) = host_and_port(place, port).ok_or_else(|| {
            let wanted = "write brokers as host or host:port, commas in between";
            bad_value(&options::RABBIT_HOSTS, None, wanted)
        })?;
        Ok(Broker { host, port, user: user.clone(), password: password.clone() })
    };
    let brokers = hosts.iter().map(broker).collect::<Result<_>>()?;
    Ok(Transport { brokers, virtual_host: named(virtual_host), query: HashMap::new() })
}

/// Takes a URL apart; else says what to write.
fn from_url(url: &str) -> Result<Transport, &'static str> {
    const WANTED: &str = "write rabbit://user:password@host:port/virtual_host, with %40 for an @, \
                          %3A for a colon, %2F for a slash and %2C for a comma in a name or password";
    let (scheme, rest) = url.split_once("://").ok_or(WANTED)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let decoded =
        |text: &str| percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| WANTED);
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    if path.contains('@') {
        return Err(WANTED);
    }
    let virtual_host = named(decoded(path)?);
    if !matches!(scheme, "rabbit" | "kombu" | "kombu+rabbit" | "kombu+amqp") {
        return Ok(Transport { brokers: Vec::new(), virtual_host, query });
    }
    let mut brokers = Vec::new();
    for place in hosts.split(',').filter(|place| !place.is_empty()) {
        let (user, place) = place.rsplit_once('@').unwrap_or(("", place));
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let (host, port) = host_and_port(place, PORT).ok_or(WANTED)?;
        let (user, password) = (decoded(user)?, Secret::new(decoded(password)?));
        brokers.push(Broker { host, port, user, password });
    }
    if brokers.is_empty() {
        let (user, password) = ("guest".to_owned(), Secret::new("guest"));
        brokers.push(Broker { host: "localhost".to_owned(), port: PORT, user, password });
    }
    Ok(Transport { brokers, virtual_host, query })
}

/// A virtual host without a name is the broker's first.
fn named(virtual_host: String) -> String {
    if virtual_host.is_empty() { "/".to_owned() } else { virtual_host }
}

/// `host`, `host:port`, `[address]` or `[address]:port`.
fn host_and_port(place: &str, port: u16) -> Option<(String, u16)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => port,
        None => return None,
        Some(port) => port.parse().ok()?,
    };
    let fits = !host.is_empty() && !host.contains(['/', '@', ' ']);
    fits.then(|| (host.to_owned(), port))
}

/// The options of the bus: what the URL says of them wins.
struct Options<'a> {
    reader: &'a mut Reader,
    query: &'a HashMap<String, String>,
}

impl Options<'_> {
    fn text(&mut self, option: &ConfigOption) -> Result<Option<Found>> {
        let found = self.reader.text(option)?;
        Ok(match self.query.get(option.name) {
            Some(text) => Some(Found::derived(option, text.clone(), None)),
            None => found,
        })
    }

    fn boolean(&mut self, option: &ConfigOption) -> Result<bool> {
        let found = self.text(option)?;
        Reader::as_boolean(option, found)
    }

    fn number(&mut self, option: &ConfigOption, least: i64) -> Result<i64> {
        let found = self.text(option)?;
        Reader::as_integer(option, found, least..=i64::from(u32::MAX))
    }

    fn seconds(&mut self, option: &ConfigOption, least: i64) -> Result<Duration> {
        Ok(Duration::from_secs(self.number(option, least)?.unsigned_abs()))
    }

    fn file(&mut self, option: &ConfigOption) -> Result<Option<PathBuf>> {
        Reader::as_word(self.text(option)?).map(absolute).transpose()
    }
}

fn tls(options: &mut Options<'_>) -> Result<Option<BusTls>> {
    let spoken = options.boolean(&options::RABBIT_SSL)?;
    let authorities = options.file(&options::RABBIT_CA_FILE)?;
    let certificate = options.file(&options::RABBIT_CERT_FILE)?;
    let client = match (certificate, options.file(&options::RABBIT_KEY_FILE)?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            return Err(Error::Config(format!(
                "{} and {} go together: name both files, or none",
                options::RABBIT_CERT_FILE,
                options::RABBIT_KEY_FILE
            )));
        }
    };
    Ok(spoken.then_some(BusTls { authorities, client }))
}

fn queues(options: &mut Options<'_>) -> Result<Queues> {
    let quorum = options.boolean(&options::RABBIT_QUORUM_QUEUE)?;
    let mirrored = options.boolean(&options::RABBIT_HA_QUEUES)?;
    if quorum && mirrored {
        return Err(Error::Config(format!(
            "{} and {} exclude each other: set one of them",
            options::RABBIT_QUORUM_QUEUE,
            options::RABBIT_HA_QUEUES
        )));
    }
    let mut numbers = Vec::new();
    for (option, name) in [
        (&options::RABBIT_DELIVERY_LIMIT, "x-delivery-limit"),
        (&options::RABBIT_MEMORY_LENGTH, "x-max-in-memory-length"),
        (&options::RABBIT_MEMORY_BYTES, "x-max-in-memory-bytes"),
    ] {
        let number = options.number(option, 0)?;
        if quorum && number > 0 {
            numbers.push((name, number));
        }
    }
    let words = [(quorum, ("x-queue-type", "quorum")), (mirrored, ("x-ha-policy", "all"))];
    Ok(Queues {
        durable: options.boolean(&options::AMQP_DURABLE_QUEUES)? || quorum,
        auto_delete: options.boolean(&options::AMQP_AUTO_DELETE)?,
        words: words.into_iter().filter(|(wanted, _)| *wanted).map(|(_, word)| word).collect(),
        numbers,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::ini;

    fn read(text: &str) -> Result<Bus> {
        let mut reader = Reader::of(vec![ini::parse(Path::new("g.conf"), text).unwrap()]);
        Bus::read(&mut reader, vec![Format::Enveloped]).map(Option::unwrap)
    }

    fn of_url(url: &str) -> Result<Bus> {
        read(&format!("[DEFAULT]\ntransport_url = {url}\n"))
    }

    fn places(bus: &Bus) -> Vec<String> {
        let place =
            |b: &Broker| format!("{}:{}@{}:{}", b.user, b.password.expose(), b.host, b.port);
        bus.brokers.iter().map(place).collect()
    }

    #[test]
    fn a_url_may_name_several_brokers_and_escape_what_means_something() {
        let bus = of_url("rabbit://u:p%40s%3As%2F%25@one:5,v:w@[::1],three/cloud%2F1").unwrap();
        assert_eq!(places(&bus), ["u:p@s:s/%@one:5", "v:w@::1:5672", ":@three:5672"]);
        assert_eq!(bus.virtual_host, "cloud/1");
    }

    #[test]
    fn the_first_virtual_host_is_written_in_three_ways() {
        for end in ["", "/", "//", "/%2F"] {
            assert_eq!(of_url(&format!("rabbit://a:b@c{end}")).unwrap().virtual_host, "/");
        }
        let bus = of_url("rabbit://").unwrap();
        assert_eq!(places(&bus), ["guest:guest@localhost:5672"]);
    }

    #[test]
    fn what_is_no_url_of_a_bus_is_refused_without_being_repeated() {
        for url in ["stack:s3cret@host", "rabbit://u:s3cret@host:port/", "rabbit://u:s3/cret@h/"] {
            let error = of_url(url).map(|bus| places(&bus)).unwrap_err().to_string();
            assert!(error.contains("transport_url") && error.contains("%40"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn the_url_for_notifications_wins_and_its_options_over_those_of_the_section() {
        let bus = read(
            "[DEFAULT]\ntransport_url = rabbit://a:b@c/\n[oslo_messaging_rabbit]\nssl = false\n\
             [oslo_messaging_notifications]\n\
             transport_url = rabbit://d:e@f/?ssl=1&ssl_ca_file=/ca.pem&rabbit_quorum_queue=true\n",
        );
        let bus = bus.unwrap();
        assert_eq!(places(&bus), ["d:e@f:5672"]);
        assert_eq!(bus.tls.unwrap().authorities, Some("/ca.pem".into()));
        assert_eq!(
            (bus.queues.durable, bus.queues.words),
            (true, vec![("x-queue-type", "quorum")])
        );
    }

    #[test]
    fn the_options_of_2013_are_read() {
        let bus = read(
            "[DEFAULT]\nrabbit_hosts = 192.168.100.12,192.168.100.13:5673\nrabbit_port = 5671\n\
             rabbit_use_ssl = true\nrabbit_userid = me\nrabbit_password = a b\n\
             rabbit_virtual_host = /glance\nrabbit_notification_exchange = images\n\
             rabbit_notification_topic = glance_notifications\nrabbit_durable_queues = True\n",
        );
        let bus = bus.unwrap();
        assert_eq!(places(&bus), ["me:a b@192.168.100.12:5671", "me:a b@192.168.100.13:5673"]);
        assert_eq!((bus.virtual_host.as_str(), bus.exchange.as_str()), ("/glance", "images"));
        assert_eq!(bus.topics, ["glance_notifications"]);
        assert!(bus.tls.is_some() && bus.queues.durable);
    }

    #[test]
    fn oslo_s_defaults_hold_and_what_excludes_itself_is_refused() {
        let bus = read("").unwrap();
        assert_eq!(bus.exchange, "glance");
        assert_eq!((bus.topics, bus.retry), (vec!["notifications".to_owned()], None));
        assert_eq!((bus.tls, bus.queues, bus.heartbeat), (None, Queues::default(), 60));
        let both = "[oslo_messaging_rabbit]\nrabbit_quorum_queue = 1\nrabbit_ha_queues = 1\n";
        assert!(read(both).unwrap_err().to_string().contains("exclude each other"));
    }

    #[test]
    fn another_bus_than_rabbitmq_is_named_and_left_alone() {
        let text = "[DEFAULT]\ntransport_url = kafka://a:b@c:9092/\n";
        let mut reader = Reader::of(vec![ini::parse(Path::new("g.conf"), text).unwrap()]);
        assert_eq!(Bus::read(&mut reader, vec![Format::Enveloped]).unwrap(), None);
        assert!(reader.notes[0].contains("transport_url"), "{:?}", reader.notes);
    }
}

//! What the configuration says about the log: where it goes, and how it looks.

use std::path::PathBuf;

use super::reader::{Reader, bad_value};
use super::{absolute, options};
use crate::error::Result;

/// How the log looks, and where it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// Whether to log what is being done.  `debug` or `--verbose`; default false.
    pub debug: bool,
    /// `use_json`, `[glancefs] log_format` or `--log-format`.
    pub format: LogFormat,
    /// `log_file`, `log_dir`, `use_syslog`.
    pub destination: LogDestination,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

/// Where the log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogDestination {
    /// To standard error.
    #[default]
    Stderr,
    /// To a file, whose path is absolute.
    File(PathBuf),
    /// To the system's log, with this facility's number.
    Syslog(u8),
}

/// syslog(3): the daemons' facility.
pub const DAEMON: u8 = 3;

impl Logging {
    pub(super) fn read(
        reader: &mut Reader,
        verbose: bool,
        asked: Option<LogFormat>,
    ) -> Result<Self> {
        let debug = reader.boolean(&options::DEBUG)? || verbose;
        let format = format(reader)?;
        let destination = destination(reader)?;
        Ok(Self { debug, format: asked.unwrap_or(format), destination })
    }
}

fn format(reader: &mut Reader) -> Result<LogFormat> {
    let json = reader.boolean(&options::USE_JSON)?;
    let found = reader.text(&options::LOG_FORMAT)?;
    match found.as_ref().map_or("", |found| found.text.trim()) {
        "" if json => Ok(LogFormat::Json),
        "" | "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(bad_value(&options::LOG_FORMAT, found.as_ref(), "write text or json")),
    }
}

fn destination(reader: &mut Reader) -> Result<LogDestination> {
    let directory = reader.word(&options::LOG_DIR)?.map(absolute).transpose()?;
    let file = reader.word(&options::LOG_FILE)?;
    let syslog = reader.boolean(&options::USE_SYSLOG)?;
    let facility = facility(reader)?;
    Ok(match (directory, file) {
        // An absolute path stays as it is.
        (Some(directory), Some(file)) => LogDestination::File(directory.join(file)),
        (None, Some(file)) => LogDestination::File(absolute(file)?),
        // Glance: the program's name.
        (Some(directory), None) => LogDestination::File(directory.join("glancefs.log")),
        (None, None) if syslog => LogDestination::Syslog(facility),
        (None, None) => LogDestination::Stderr,
    })
}

fn facility(reader: &mut Reader) -> Result<u8> {
    let names = ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron"];
    let found = reader.text(&options::SYSLOG_FACILITY)?;
    let text = found.as_ref().map_or("", |found| found.text.trim()).to_lowercase();
    let name = text.strip_prefix("log_").unwrap_or(&text);
    let local = name.strip_prefix("local").and_then(|number| number.parse::<u8>().ok());
    let number = match local.filter(|number| *number < 8) {
        Some(number) => Some(16 + number),
        None => names.iter().zip(0..).find(|(known, _)| **known == name).map(|(_, number)| number),
    };
    let wanted = "write LOG_USER, LOG_DAEMON or LOG_LOCAL0 to LOG_LOCAL7";
    number.ok_or_else(|| bad_value(&options::SYSLOG_FACILITY, found.as_ref(), wanted))
}

//! Logging: to where, and as much as, the operator asked for.
//!
//! What other crates log (through `tracing` or `log`, as fuser does) is shown from warnings on:
//! their debug output may hold request headers, and so tokens.  `RUST_LOG`, when set, decides
//! everything instead, but for what the HTTP client says, who shows whatever is sent.

pub mod metrics;
mod output;
mod repeats;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::logging::{LogDestination, LogFormat, Logging};
use crate::error::Result;
use output::{Lines, OUTPUT};
use repeats::Repeats;

/// What is shown, to be exchanged later.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging for the whole process; a second call changes nothing.
///
/// # Errors
/// `Config` when it cannot go where it should, saying what to do.
pub fn start(logging: &Logging) -> Result<()> {
    if FILTER.get().is_some() {
        return Ok(());
    }
    OUTPUT.direct(&logging.destination)?;
    let (filter, handle) = reload::Layer::new(filter(logging.debug));
    let lines: Box<dyn Layer<_> + Send + Sync> = match logging.format {
        LogFormat::Text => Box::new(text(logging)),
        LogFormat::Json => Box::new(fmt::layer().json().with_writer(Lines)),
    };
    let logged = tracing_subscriber::registry().with(filter).with(Repeats::new(logging.format));
    // Only fails when logging was started before, which is fine (tests, for example).
    if logged.with(lines).try_init().is_ok() {
        // Nobody else sets it.
        let _ = FILTER.set(handle);
    }
    Ok(())
}

/// Opens the log's file again, as after it was moved away, and logs as much as `debug` says now.
///
/// # Errors
/// `Config` when the file cannot be opened; the one before stays, then.
pub fn reload(debug: bool) -> Result<()> {
    if let Some(handle) = FILTER.get() {
        // Only fails when logging has ended.
        let _ = handle.reload(filter(debug));
    }
    OUTPUT.reopen()
}

/// Before the program leaves its terminal: what would go to standard error goes to the system's log.
pub fn leave_stderr() {
    OUTPUT.leave_stderr();
}

fn text<S>(logging: &Logging) -> impl Layer<S> + Send + Sync + use<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let coloured = logging.destination == LogDestination::Stderr && std::io::stderr().is_terminal();
    fmt::layer().with_writer(Lines).with_ansi(coloured).with_target(logging.debug)
}

fn filter(debug: bool) -> EnvFilter {
    let filter = EnvFilter::try_from_default_env();
    without_wire(filter.unwrap_or_else(|_| EnvFilter::new(default_directives(debug))))
}

/// Keeps the clients of HTTP and of the message bus from showing bytes, of which some are tokens and passwords.
/// What the latter has to say of connections, `notifications` says better.
fn without_wire(filter: EnvFilter) -> EnvFilter {
    let quiet = ["ureq=info", "ureq_proto=info", "lapin=off"]
        .into_iter()
        .filter_map(|text| text.parse().ok());
    quiet.fold(filter, EnvFilter::add_directive)
}

fn default_directives(debug: bool) -> &'static str {
    if debug { "warn,glancefs=debug" } else { "warn,glancefs=info" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_over_the_wire_is_never_shown() {
        let filter: EnvFilter = "trace,ureq=trace".parse().unwrap();
        let shown = without_wire(filter).to_string();
        assert!(shown.contains("ureq=info") && shown.contains("ureq_proto=info"), "{shown}");
        assert!(!shown.contains("ureq=trace"), "{shown}");
    }

    #[test]
    fn other_crates_never_get_below_warnings_by_themselves() {
        for debug in [false, true] {
            let filter: EnvFilter = default_directives(debug).parse().unwrap();
            let shown = filter.to_string();
            assert!(shown.contains("warn") && shown.contains("glancefs="), "{shown}");
            assert!(!shown.contains("hyper"));
        }
    }
}

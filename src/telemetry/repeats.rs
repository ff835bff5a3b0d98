//! What says the same again and again is not all logged.
//!
//! A store that is away, or a client that insists, makes one place of the program warn many times a
//! second.  Of each such place, the first lines of a period pass, and how many did not is said when
//! the next one passes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::output::Line;
use crate::config::logging::LogFormat;

/// How many warnings or errors of one place pass in a period.
const BURST: u32 = 30;

/// How long a period is.
const PERIOD: Duration = Duration::from_secs(30);

/// Holds repeated warnings and errors back.
pub(super) struct Repeats {
    format: LogFormat,
    places: Mutex<HashMap<Identifier, Place>>,
}

/// One place of the program that warns.
#[derive(Debug)]
struct Place {
    since: Instant,
    passed: u32,
    held_back: u64,
}

/// What to do with a line.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// It passes, after so many that did not.
    PassAfter(u64),
    HoldBack,
}

impl Repeats {
    pub(super) fn new(format: LogFormat) -> Self {
        // The places are those in the program's text: a bounded number.
        Self { format, places: Mutex::default() }
    }
}

impl Place {
    fn new(now: Instant) -> Self {
        Self { since: now, passed: 0, held_back: 0 }
    }

    fn judge(&mut self, now: Instant) -> Verdict {
        if now.saturating_duration_since(self.since) >= PERIOD {
            let held_back = self.held_back;
            *self = Self { since: now, passed: 1, held_back: 0 };
            return if held_back > 0 { Verdict::PassAfter(held_back) } else { Verdict::Pass };
        }
        if self.passed < BURST {
            self.passed += 1;
            return Verdict::Pass;
        }
        self.held_back += 1;
        Verdict::HoldBack
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN {
            return true;
        }
        let now = Instant::now();
        let verdict = {
            let mut places = self.places.lock();
            places.entry(metadata.callsite()).or_insert_with(|| Place::new(now)).judge(now)
        };
        if let Verdict::PassAfter(count) = verdict {
            Line::write_out(*metadata.level(), &held_back(self.format, count));
        }
        verdict != Verdict::HoldBack
    }
}

/// The line that stands for those that are not there.
fn held_back(format: LogFormat, count: u64) -> String {
    let text = format!("{count} lines like the next one were not logged");
    match format {
        LogFormat::Text => format!("{text}\n"),
        LogFormat::Json => {
            let line = serde_json::json!({"level": "WARN", "fields": {"message": text}});
            format!("{line}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_of_the_period_is_counted() {
        let begun = Instant::now();
        let mut place = Place::new(begun);
        for _ in 0..BURST {
            assert_eq!(place.judge(begun), Verdict::Pass);
        }
        for _ in 0..5 {
            assert_eq!(place.judge(begun), Verdict::HoldBack);
        }
        assert_eq!(place.judge(begun + PERIOD), Verdict::PassAfter(5));
        assert_eq!(place.judge(begun + PERIOD), Verdict::Pass);
        assert_eq!(place.judge(begun + 3 * PERIOD), Verdict::Pass);
    }
}

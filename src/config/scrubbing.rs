//! What is configured about the data of deleted images.  Glance: the options of `glance-scrubber`.

use std::time::Duration;

use super::options;
use super::reader::{Reader, bad_value};
use crate::error::Result;

/// A hundred years: no longer is any time that is meant.
const LONGEST: i64 = 100 * 365 * 24 * 3600;

/// When the data of deleted images is removed, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrubbing {
    /// Whether data stays when an image is deleted.  `delayed_delete`; default false.
    pub delayed_delete: bool,
    /// For how long at least.  `scrub_time`; default 0.
    pub scrub_time: Duration,
    /// Images whose data is removed at a time.  `scrub_pool_size`; default 1.
    pub pool_size: usize,
    /// Whether a daemon removes it by itself.  `daemon`; default: with `delayed_delete`, if a file
    /// says `scrub_time`.
    pub in_background: bool,
    /// How often it looks for some.  `wakeup_time`; default 5 minutes, at least a second.
    pub wakeup_time: Duration,
    /// How long what went to the trash of a Ceph pool stays there, `None` for ever.
    /// `[glancefs] purge_trash_after`.
    pub purge_trash_after: Option<Duration>,
}

impl Scrubbing {
    pub(super) fn read(reader: &mut Reader) -> Result<Self> {
        let delayed_delete = reader.boolean(&options::DELAYED_DELETE)?;
        let is_said = reader.text(&options::SCRUB_TIME)?.is_some_and(|found| found.place.is_some());
        let scrub_time = reader.integer(&options::SCRUB_TIME, 0..=LONGEST)?;
        let pool_size = reader.integer(&options::SCRUB_POOL_SIZE, 1..=MOST_AT_ONCE)?;
        let wakeup_time = reader.integer(&options::WAKEUP_TIME, 0..=LONGEST)?;
        let daemon =
            reader.text(&options::SCRUB_DAEMON)?.filter(|found| !found.text.trim().is_empty());
        let in_background = match daemon {
            Some(found) => Reader::as_boolean(&options::SCRUB_DAEMON, Some(found))?,
            None => delayed_delete && is_said,
        };
        if delayed_delete && !in_background {
            reader.notes.push(format!(
                "{} is on, and glancefs does not remove the data of deleted images by itself: set \
                 scrub_time or daemon = true, or have it done by glancefs scrub --once or \
                 glance-scrubber",
                options::DELAYED_DELETE
            ));
        }
        Ok(Self {
            delayed_delete,
            scrub_time: Duration::from_secs(scrub_time.unsigned_abs()),
            pool_size: usize::try_from(pool_size).unwrap_or(1),
            in_background,
            wakeup_time: Duration::from_secs(wakeup_time.unsigned_abs().max(1)),
            purge_trash_after: purge_trash_after(reader)?,
        })
    }
}

/// Removing data is work for the store, not for us: more threads than this only wait.
const MOST_AT_ONCE: i64 = 64;

fn purge_trash_after(reader: &mut Reader) -> Result<Option<Duration>> {
    let found = reader.text(&options::PURGE_TRASH_AFTER)?;
    let text = found.as_ref().map_or("", |found| found.text.trim());
    if text.is_empty() {
        return Ok(None);
    }
    let wanted = "write seconds, or a number with s, m, h or d right behind it, as 30d";
    let duration = duration(text);
    let wrong = || bad_value(&options::PURGE_TRASH_AFTER, found.as_ref(), wanted);
    duration.ok_or_else(wrong).map(Some)
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds: u64 = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(seconds)?;
    (seconds <= LONGEST.unsigned_abs()).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ini;

    fn read(text: &str) -> Result<Scrubbing> {
        let assignments = ini::parse(std::path::Path::new("test.conf"), text)?;
        Scrubbing::read(&mut Reader::of(vec![assignments]))
    }

    #[test]
    fn data_is_removed_in_the_background_where_somebody_said_when() {
        let background = |text: &str| read(&format!("[DEFAULT]\n{text}")).unwrap().in_background;
        assert!(!background(""));
        assert!(!background("delayed_delete = true\n"));
        assert!(background("delayed_delete = true\nscrub_time = 0\n"));
        assert!(!background("scrub_time = 10\n"));
        assert!(background("daemon = true\n"));
        assert!(!background("delayed_delete = true\nscrub_time = 10\ndaemon = False\n"));
    }

    #[test]
    fn times_are_in_seconds_or_say_their_unit() {
        let after = |text: &str| {
            read(&format!("[glancefs]\npurge_trash_after = {text}\n")).map(|s| s.purge_trash_after)
        };
        assert_eq!(after("").unwrap(), None);
        assert_eq!(after("90").unwrap(), Some(Duration::from_secs(90)));
        assert_eq!(after("2h").unwrap(), Some(Duration::from_secs(7200)));
        assert_eq!(after("30d").unwrap(), Some(Duration::from_secs(30 * 86400)));
        for bad in ["-1", "1 h", "h", "1w", "9999999999d"] {
            assert!(after(bad).unwrap_err().to_string().contains("30d"), "{bad}");
        }
        let woken = read("[DEFAULT]\nwakeup_time = 0\n").unwrap();
        assert_eq!(woken.wakeup_time, Duration::from_secs(1));
    }
}

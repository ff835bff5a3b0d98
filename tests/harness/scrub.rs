//! `glancefs scrub`, and the data of images that are deleted.

use std::fs;

use super::{Finished, Glancefs};

impl Glancefs {
    /// Runs `glancefs scrub`, on this state directory and configuration.
    pub fn try_scrub(&self, arguments: &str) -> Finished {
        let config = self.directory().join("glance-api.conf");
        self.try_sh(&format!(
            "{} scrub {arguments} --state-dir {} --config-file {}",
            env!("CARGO_BIN_EXE_glancefs"),
            self.state_dir().display(),
            config.display()
        ))
    }

    /// The same; it must succeed.  Returns what it prints.
    #[track_caller]
    pub fn scrub(&self, arguments: &str) -> String {
        let done = self.try_scrub(arguments);
        assert!(done.ok(), "{done:?}");
        done.stdout
    }

    /// It must not succeed, and say so.
    #[track_caller]
    pub fn scrub_refused(&self, arguments: &str, message: &str) {
        let done = self.try_scrub(arguments);
        assert!(!done.ok() && done.stderr.contains(message), "{done:?}");
    }

    /// Whether there is data of an image.
    pub fn has_data(&self, id: &str) -> bool {
        match &self.pool {
            Some(pool) => pool.list().iter().any(|name| name == id),
            None => self.datadir().join(id).exists(),
        }
    }

    /// What the record of an image, deleted or not, says: its status, whether it is deleted, and the
    /// statuses of its locations.
    #[track_caller]
    pub fn fate(&self, id: &str) -> (String, bool, Vec<String>) {
        let mut raw = self.database();
        let sql = "SELECT status, deleted FROM images WHERE id = ?";
        let mut rows = raw.rows(sql, &[Some(id)]);
        let mut row = rows.pop().expect("there is a record").into_iter().flatten();
        let (status, deleted) = (row.next().unwrap(), row.next().unwrap() != "0");
        let sql = "SELECT status FROM image_locations WHERE image_id = ? ORDER BY id";
        let places = raw.rows(sql, &[Some(id)]).into_iter().flatten().flatten().collect();
        (status, deleted, places)
    }

    /// Whether an image waits to be scrubbed, as Glance writes that.
    #[track_caller]
    pub fn is_pending(&self, id: &str) -> bool {
        self.fate(id) == ("pending_delete".into(), true, vec!["pending_delete".into()])
    }

    /// Whether an image was scrubbed, as Glance writes that.
    #[track_caller]
    pub fn is_scrubbed(&self, id: &str) -> bool {
        self.fate(id) == ("deleted".into(), true, vec!["deleted".into()])
    }

    /// Nothing is being removed.
    pub fn has_an_empty_journal(&self) -> bool {
        fs::read_dir(self.state_dir().join("journal")).unwrap().count() == 0
    }
}

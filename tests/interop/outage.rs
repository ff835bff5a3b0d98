//! A database that crashes while clients are at work.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use crate::harness::mariadb::Server;
use crate::harness::{Start, eventually};
use crate::shared_catalog::ours;

/// What several clients were told.
#[derive(Default)]
struct Told {
    recorded: Mutex<Vec<String>>,
    failures: Mutex<BTreeSet<u16>>,
    enough: AtomicBool,
}

impl Told {
    fn count(&self) -> usize {
        self.recorded.lock().unwrap().len()
    }

    /// Waits until something more was recorded.
    fn await_more(&self) {
        let before = self.count();
        eventually("images are recorded", || self.count() > before + 40);
    }
}

#[test]
#[ignore = "needs MariaDB"]
fn what_was_acknowledged_outlives_a_crash_of_the_database() {
    let durable = ["--innodb-flush-log-at-trx-commit=1"];
    let mut server = Server::start(&durable);
    let url = server.url(&server.new_database());
    let glancefs = Start::default().with_api().catalog(&url).mount();
    let told = Told::default();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let api = ours(&glancefs);
                while !told.enough.load(Ordering::Relaxed) {
                    match api.try_record(&json!({"name": "made", "tags": ["a", "b"]})) {
                        Ok(id) => told.recorded.lock().unwrap().push(id),
                        Err(status) => drop(told.failures.lock().unwrap().insert(status)),
                    }
                }
            });
        }
        // However the waiting ends.
        let _enough = Enough(&told);
        // Away for a moment, which is waited for; and for longer, which is not.
        told.await_more();
        server.kill();
        server.start_again(&durable);
        told.await_more();
        server.kill();
        let given_up = || told.failures.lock().unwrap().contains(&503);
        eventually("nobody waits for ever", given_up);
        server.start_again(&durable);
        told.await_more();
    });
    assert_eq!(*told.failures.lock().unwrap(), [503].into());
    let rows = glancefs.database().rows("SELECT id FROM images WHERE deleted = 0", &[]);
    let there: BTreeSet<_> = rows.into_iter().filter_map(|mut row| row.swap_remove(0)).collect();
    let recorded = told.recorded.into_inner().unwrap();
    let lost: Vec<_> = recorded.iter().filter(|id| !there.contains(*id)).collect();
    assert!(lost.is_empty(), "of {} are lost: {lost:?}", recorded.len());
}

/// Ends the clients.
struct Enough<'t>(&'t Told);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.enough.store(true, Ordering::Relaxed);
    }
}

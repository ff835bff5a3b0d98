//! A database that crashes while clients are at work.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use crate::harness::mariadb::Server;
use crate::harness::{Glancefs, Running, Start, eventually};
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

/// Copies files into the mount and uploads images by the API, one after the other until there are enough;
/// notes the names of those that were acknowledged.
fn writer(glancefs: &Glancefs, name: &str) -> Running {
    glancefs.spawn(&format!(
        r#"api=http://{}/v2/images n=0
        while [ -e data ] && ! [ -e enough ]
        do n=$((n + 1))
           if cp data "$M/copied-{name}-$n" 2>>errors
           then echo "copied-{name}-$n" >>done-{name}
           else echo $n >>failed-{name}
           fi
           id=$(cat /proc/sys/kernel/random/uuid)
           fields="{{\"id\": \"$id\", \"name\": \"sent-{name}-$n\", \"disk_format\": \"raw\", \"container_format\": \"bare\"}}"
           curl -sf -H 'Content-Type: application/json' -d "$fields" $api >answer-{name} || continue
           if curl -sf -H 'Content-Type: application/octet-stream' -T data $api/$id/file
           then echo "sent-{name}-$n" >>done-{name}
           fi
        done"#,
        glancefs.api.unwrap()
    ))
}

#[test]
#[ignore = "needs MariaDB"]
fn no_upload_stays_half_done_after_a_crash_of_the_database() {
    let durable = ["--innodb-flush-log-at-trx-commit=1"];
    let mut server = Server::start(&durable);
    let url = server.url(&server.new_database());
    let glancefs = Start::default().with_api().catalog(&url).mount();
    glancefs.noise("data", 200_000);
    let names = ["a", "b", "c", "d"];
    let lines = |files: &str| {
        let text = glancefs.sh(&format!("cat {files} 2>/dev/null || true"));
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let acknowledged = || lines("done-*");
    let writers = names.map(|name| writer(&glancefs, name));
    for _ in 0..3 {
        let before = acknowledged().len();
        eventually("images are written", || acknowledged().len() > before + 10);
        let before = lines("failed-*").len();
        server.kill();
        // Until then it is waited for.
        eventually("files are not written", || lines("failed-*").len() > before);
        server.start_again(&durable);
    }
    glancefs.sh("touch enough");
    for writer in writers {
        writer.wait();
    }
    let journal = glancefs.state_dir().join("journal");
    eventually("nothing is in progress", || std::fs::read_dir(&journal).unwrap().count() == 0);
    let records = glancefs.records();
    let active: Vec<_> = records.iter().filter(|record| record.status == "active").collect();
    let names: BTreeSet<_> = active.iter().map(|record| record.name.clone().unwrap()).collect();
    let lost: Vec<_> = acknowledged().into_iter().filter(|name| !names.contains(name)).collect();
    assert!(lost.is_empty(), "of {} are lost: {lost:?}", names.len());
    let others: Vec<_> =
        records.iter().filter(|record| !["active", "queued"].contains(&&*record.status)).collect();
    assert!(others.is_empty(), "{others:#?}");
    let ids: BTreeSet<_> = active.iter().map(|record| record.id.clone()).collect();
    let files = glancefs.sh(&format!("ls -A {}", glancefs.datadir().display()));
    assert_eq!(files.lines().map(str::to_owned).collect::<BTreeSet<_>>(), ids);
}

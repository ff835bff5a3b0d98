//! Eight clients at work, by the API behind HAProxy and in both directories, while one controller
//! after the other is killed and comes back: nothing that was acknowledged is lost, and nothing is
//! left over.

#[path = "kill/client.rs"]
mod client;
#[path = "kill/expected.rs"]
mod expected;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use client::Client;
use expected::{Data, Expected, There, data_of};

use crate::haproxy::{LISTENER, SERVER};
use crate::harness::{Glancefs, Record, eventually};
use crate::{Site, api};

const CLIENTS: usize = 8;
const OPERATIONS: usize = 1000;

/// So many operations go by between two deaths.
const ALIVE: usize = 80;

/// A supervisor starts a controller again after this.  Whoever works in its directory may have to wait
/// for that.
const DEAD: Duration = Duration::from_millis(300);

#[test]
#[ignore = "needs Ceph, MariaDB and HAProxy; scripts/test runs it"]
fn nothing_is_lost_or_left_when_controllers_die_under_load() {
    let mut site = Site::start();
    let listener = LISTENER.replace("balance source", "balance roundrobin");
    let haproxy = site.behind_haproxy(&listener, SERVER);
    let done = AtomicUsize::new(0);
    let mut clients: Vec<_> =
        (0..CLIENTS).map(|number| Client::new(number, &site, haproxy.address)).collect();
    let deaths = thread::scope(|scope| {
        let workers: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                let done = &done;
                scope.spawn(move || {
                    for _ in 0..OPERATIONS / CLIENTS {
                        client.act();
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        kill_in_turns(&mut site, &done, || workers.iter().all(|worker| worker.is_finished()))
    });
    let mut tally = BTreeMap::new();
    for (what, count) in clients.iter().flat_map(Client::tally) {
        *tally.entry(what).or_insert(0) += count;
    }
    println!("{deaths} deaths; {tally:#?}");
    assert!(deaths > 5);
    verify(&site, &clients);
}

/// Kills one controller and then the other, until all is done; returns how often.
fn kill_in_turns(site: &mut Site, done: &AtomicUsize, finished: impl Fn() -> bool) -> usize {
    for deaths in 0.. {
        let until = done.load(Ordering::Relaxed) + ALIVE;
        while done.load(Ordering::Relaxed) < until && !finished() {
            thread::sleep(Duration::from_millis(2));
        }
        if finished() {
            return deaths;
        }
        let node = if deaths % 2 == 0 { &mut site.zeus } else { &mut site.hades };
        node.crash();
        thread::sleep(DEAD);
        node.start_again();
    }
    unreachable!("it goes on until all is done")
}

fn verify(site: &Site, clients: &[Client]) {
    let nodes = [&site.zeus, &site.hades];
    for node in nodes {
        eventually("nothing is in progress", || {
            std::fs::read_dir(node.state_dir().join("journal")).unwrap().count() == 0
        });
    }
    let records: BTreeMap<_, _> =
        site.zeus.records().into_iter().map(|record| (record.id.clone(), record)).collect();
    for client in clients {
        for expected in &client.images {
            verify_one(nodes, expected, records.get(&expected.id));
        }
    }
    let known = |id: &String| clients.iter().flat_map(|client| &client.images).any(|e| e.id == *id);
    for record in records.values().filter(|record| !known(&record.id)) {
        // The mount died before it said that the file was written; but if it was, then wholly.
        let name = record.name.as_deref().unwrap();
        let lost = clients.iter().flat_map(|client| &client.unanswered);
        let seed = lost.into_iter().find(|(lost, _)| lost == name).expect("a known file").1;
        assert_eq!(record.status, "active", "{record:?}");
        assert_data(nodes, &record.id, seed);
    }
    verify_places(site, nodes, records.values());
}

/// Both directories and the pool hold what has data, and nothing else.
fn verify_places<'r>(
    site: &Site,
    nodes: [&Glancefs; 2],
    records: impl Iterator<Item = &'r Record>,
) {
    let active: Vec<_> = records.filter(|record| record.status == "active").collect();
    let ids: Vec<_> = active.iter().map(|record| record.id.clone()).collect();
    assert_eq!(site.pool(), ids);
    assert_eq!(site.cluster.run("rbd", &["trash", "ls", "images"]), "");
    let mut names: Vec<_> = active.iter().map(|record| record.name.clone().unwrap()).collect();
    names.sort();
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for node in nodes {
        eventually("all ids are listed", || lines(node.sh("ls $M/.by-id")) == ids);
        assert_eq!(lines(node.sh("ls $M")), names);
    }
    assert_eq!(api(nodes[0]).list(), api(nodes[1]).list());
}

#[track_caller]
fn verify_one(nodes: [&Glancefs; 2], expected: &Expected, record: Option<&Record>) {
    let Some(record) = record else {
        assert_ne!(expected.there, There::Certain, "lost: {expected:?}");
        return;
    };
    assert_ne!(expected.there, There::Gone, "it was deleted: {expected:?}\n{record:?}");
    let told = format!("{expected:?}\n{record:?}");
    let note = record.properties.get("note").cloned();
    assert!(expected.notes.contains(&note), "{told}");
    assert!(expected.names.iter().any(|name| record.name.as_deref() == Some(name)), "{told}");
    match (record.status.as_str(), expected.data) {
        ("active", Data::Certain(seed) | Data::Maybe(seed)) => {
            assert_data(nodes, &record.id, seed);
        }
        ("queued", Data::None | Data::Maybe(_)) => assert!(record.locations.is_empty(), "{told}"),
        _ => panic!("{told}"),
    }
}

#[track_caller]
fn assert_data(nodes: [&Glancefs; 2], id: &str, seed: u64) {
    for node in nodes {
        let file = node.scratch().join("downloaded");
        api(node).download(id, &file);
        assert!(std::fs::read(file).unwrap() == data_of(seed), "the data of {id}");
    }
}

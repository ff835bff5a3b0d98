//! What a controller that has nothing to do asks of the database.

use std::thread;
use std::time::{Duration, Instant};

use mysql::Conn;
use mysql::prelude::Queryable;

use crate::harness::Start;
use crate::harness::mariadb::Server;

/// As many images as a large cloud has, all stamped just now: what would be looked at again if it
/// were young images that are.
const MANY: &str = "INSERT INTO images (id, name, size, status, visibility, min_disk, min_ram, \
     created_at, updated_at, deleted) \
     SELECT UUID(), CONCAT('image ', seq), 0, 'active', 'public', 0, 0, UTC_TIMESTAMP(), \
     UTC_TIMESTAMP(), 0 FROM seq_1_to_100000";

/// How many questions were asked, and how many rows read for them.
fn counts(connection: &mut Conn) -> [u64; 2] {
    let rows: Vec<(String, String)> = connection.query("SHOW GLOBAL STATUS").unwrap();
    let sum = |begin: &str| {
        let some = rows.iter().filter(|(name, _)| name.starts_with(begin));
        some.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
    };
    ["Questions", "Handler_read"].map(sum)
}

#[test]
#[ignore = "needs MariaDB; scripts/test runs it"]
fn who_waits_for_others_changes_asks_little_and_has_no_row_read() {
    let mut server = Server::start(&[]);
    let database = server.new_database();
    let glancefs = Start::default().with_api().catalog(&server.url(&database)).mount();
    server.connect(&database).query_drop(MANY).unwrap();
    assert_eq!(glancefs.sh("ls $M | wc -l").trim(), "100000");
    assert_is_cheap(&server, "after a change");
    // The server has forgotten when it was last written to.
    server.kill();
    server.start_again(&[]);
    assert_eq!(glancefs.sh("ls $M | wc -l").trim(), "100000");
    assert_is_cheap(&server, "after a restart of the server");
    server.connect(&database).query_drop("UPDATE images SET name = 'x' LIMIT 1").unwrap();
    assert_is_cheap(&server, "after another change");
}

/// Prints what is asked in a few seconds, and compares it with the time that they took: a machine
/// that is busy asks less.  On one that stands still the last look at a change may come late.
#[track_caller]
fn assert_is_cheap(server: &Server, when: &str) {
    // Changes are looked at again until their stamps must differ from later ones.
    thread::sleep(Duration::from_secs(3));
    let mut connection = server.connect("");
    let is_cheap = (0..5).any(|_| {
        let [questions, rows] = asked(&mut connection);
        println!("{when}: {questions:.1} questions and {rows:.0} rows a second");
        questions < 12.0 && rows < 5000.0
    });
    assert!(is_cheap, "{when}");
}

/// Statements and rows a second, as they are in the next four.
fn asked(connection: &mut Conn) -> [f64; 2] {
    let before = counts(connection);
    let (since, first) = (Instant::now(), counts(connection));
    thread::sleep(Duration::from_secs(4));
    let (last, seconds) = (counts(connection), since.elapsed().as_secs_f64());
    [0, 1].map(|at| {
        // Without what it takes to ask this.
        let own = first[at] - before[at];
        (last[at] - first[at]).saturating_sub(own) as f64 / seconds
    })
}

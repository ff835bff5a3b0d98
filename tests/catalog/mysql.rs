//! What is peculiar to a server: MariaDB, with other clients of the same database at work.

use std::thread;
use std::time::{Duration, Instant};

use glancefs::catalog::Catalog;
use glancefs::catalog::database::{Database, Place};
use glancefs::catalog::metadefs::MetadefCatalog;
use glancefs::catalog::model::{Image, ImageId, Member, MemberStatus, Status};
use glancefs::catalog::mysql::MysqlCatalog;
use glancefs::catalog::query::{Column, Direction, Filter, ImageQuery, Viewer};
use glancefs::error::Error;
use glancefs::images::changes::ForeignChanges;

use super::database::{Raw, at, on_server};
use super::mariadb::{PASSWORD, Server};
use super::{full_image, now, project};

/// A catalog with Glance's own tables, and a connection of somebody else.
fn catalog() -> (Database, MysqlCatalog, Raw) {
    let database = on_server(&Server::shared().new_database());
    let catalog = open(&database);
    let raw = Raw::to(&database);
    (database, catalog, raw)
}

pub(crate) fn try_open(database: &Database) -> Result<MysqlCatalog, Error> {
    match &database.place {
        Place::Server(server) => MysqlCatalog::open(server, None),
        Place::File(path) => panic!("{}", path.display()),
    }
}

pub(crate) fn open(database: &Database) -> MysqlCatalog {
    try_open(database).unwrap()
}

/// An image that Glance's tables can hold.
pub(crate) fn image() -> Image {
    let mut image = full_image();
    image.name = Some("Größe".to_string());
    image.properties = [("os_distro".to_string(), "debian".to_string())].into();
    image.tags = ["x".to_string()].into();
    (image.created_at, image.updated_at) = (now(), now());
    image
}

#[test]
#[ignore = "needs MariaDB"]
fn many_that_open_an_empty_database_at_once_share_it() {
    let database = on_server(&Server::shared().new_database());
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| open(&database).insert(&image()).unwrap());
        }
    });
    assert_eq!(open(&database).summary().unwrap().images, 6);
}

#[test]
#[ignore = "needs MariaDB"]
fn a_database_of_a_later_release_is_refused() {
    let (database, _, mut raw) = catalog();
    raw.execute("UPDATE alembic_version SET version_num = '2031_1_expand01'", &[]);
    match try_open(&database) {
        Err(Error::Config(why)) => assert!(why.contains("newer glancefs"), "{why}"),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
#[ignore = "needs MariaDB"]
fn text_is_compared_as_the_tables_collation_says() {
    let (_, catalog, mut raw) = catalog();
    let named = Image { os_hidden: false, ..image() };
    catalog.insert(&named).unwrap();
    let viewer = Viewer::Project(project("P1"));
    let found = |filter| {
        let query = ImageQuery { filters: vec![filter], ..ImageQuery::all_for(viewer.clone()) };
        catalog.list(&query).unwrap().len()
    };
    assert_eq!(found(Filter::OneOf(Column::Name, vec!["GROSSE".into(), "grösse".into()])), 0);
    assert_eq!(found(Filter::OneOf(Column::Name, vec!["gröSSe".into(), "GRÖßE".into()])), 1);
    assert_eq!(found(Filter::Property("OS_distro".into(), "Debian".into())), 1);
    let beyond = Filter::OneOf(Column::Name, vec!["😀".into(), "größe".into()]);
    let query = ImageQuery { filters: vec![beyond], ..ImageQuery::all_for(viewer.clone()) };
    assert!(matches!(catalog.list(&query), Err(Error::Invalid(_))));
    // Two properties that differ in case are one to the table.
    let mut both = named.clone();
    both.properties.insert("OS_DISTRO".into(), "x".into());
    let refused = catalog.save(&named, &both, Status::THERE);
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert_eq!(catalog.get(named.id).unwrap().as_ref(), Some(&named));
    both.properties.remove("os_distro");
    assert!(catalog.save(&named, &both, Status::THERE).unwrap());
    assert_eq!(catalog.get(named.id).unwrap().as_ref(), Some(&both));
    // Tags are told apart, as Glance does it.
    let mut tagged = both.clone();
    tagged.tags.insert("X".into());
    assert!(catalog.save(&both, &tagged, Status::THERE).unwrap());
    assert_eq!(catalog.get(named.id).unwrap().as_ref(), Some(&tagged));
    assert!(catalog.save(&tagged, &both, Status::THERE).unwrap());
    assert_eq!(catalog.get(named.id).unwrap(), Some(both));
    assert_eq!(raw.number("SELECT count(*) FROM image_tags WHERE deleted = 1"), 1);
}

#[test]
#[ignore = "needs MariaDB"]
fn pages_by_visibility_lose_nothing() {
    let (_, catalog, _) = catalog();
    use glancefs::catalog::model::Visibility;
    for visibility in Visibility::ALL.iter().cycle().take(12) {
        let bare = Image::new(ImageId::random(), Some(project("p")));
        catalog.insert(&Image { visibility: *visibility, ..bare }).unwrap();
    }
    for direction in [Direction::Ascending, Direction::Descending] {
        let viewer = Viewer::Admin { project: Some(project("p")) };
        let sort = vec![(Column::Visibility, direction)];
        let mut query = ImageQuery { sort, limit: Some(5), ..ImageQuery::all_for(viewer) };
        let mut seen = Vec::new();
        while let page @ [.., last] = &catalog.list(&query).unwrap()[..] {
            seen.extend(page.iter().map(|image| image.id));
            query.marker = Some(last.id);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 12);
    }
}

#[test]
#[ignore = "needs MariaDB"]
fn what_glances_tables_cannot_hold_is_refused() {
    let (_, catalog, _) = catalog();
    for refused in [
        Image { name: Some("😀".into()), ..image() },
        Image { name: Some("x".repeat(256)), ..image() },
        Image { min_disk: 1 << 40, ..image() },
    ] {
        let outcome = catalog.insert(&refused);
        assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
        assert_eq!(catalog.get(refused.id).unwrap(), None);
    }
}

#[test]
#[ignore = "needs MariaDB"]
fn a_change_waits_for_somebody_elses_lock_and_survives_a_deadlock() {
    let (database, catalog, mut raw) = catalog();
    let [one, two] = [image(), image()];
    for image in [&one, &two] {
        catalog.insert(image).unwrap();
    }
    let lock = |raw: &mut Raw, image: &Image| {
        let sql = "UPDATE images SET min_ram = min_ram + 1 WHERE id = ?";
        raw.execute(sql, &[Some(image.id.as_str())]);
    };
    // The image's property is locked by another who then wants the image: one of the two must go.
    raw.execute("BEGIN", &[]);
    let id = Some(two.id.as_str());
    raw.execute("UPDATE image_properties SET value = 'other' WHERE image_id = ?", &[id]);
    let changed = Image { properties: [("os_distro".into(), "new".into())].into(), ..two.clone() };
    thread::scope(|scope| {
        let save = scope.spawn(|| open(&database).save(&two, &changed, Status::THERE));
        thread::sleep(Duration::from_millis(500));
        let sql = "UPDATE images SET min_ram = 7 WHERE id = ?";
        let other =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| raw.execute(sql, &[id])));
        if other.is_ok() {
            raw.execute("COMMIT", &[]);
        }
        assert!(save.join().unwrap().unwrap());
    });
    assert_eq!(catalog.get(two.id).unwrap().unwrap().properties, changed.properties);
    // A lock that is let go of in time is only waited for.
    let mut raw = Raw::to(&database);
    raw.execute("BEGIN", &[]);
    lock(&mut raw, &one);
    let renamed = Image { name: Some("renamed".into()), ..one.clone() };
    thread::scope(|scope| {
        let save = scope.spawn(|| catalog.save(&one, &renamed, Status::THERE));
        thread::sleep(Duration::from_millis(300));
        raw.execute("COMMIT", &[]);
        assert!(save.join().unwrap().unwrap());
    });
}

#[test]
#[ignore = "needs MariaDB"]
fn a_server_that_restarts_is_waited_for() {
    let durable = ["--innodb-flush-log-at-trx-commit=1"];
    let mut server = Server::start(&durable);
    let database = at(&server.url(&server.new_database()));
    let catalog = open(&database);
    let image = image();
    catalog.insert(&image).unwrap();
    server.kill();
    thread::scope(|scope| {
        let read = scope.spawn(|| catalog.get(image.id));
        server.start_again(&durable);
        assert_eq!(read.join().unwrap().unwrap().as_ref(), Some(&image));
    });
    assert!(catalog.delete(image.id, Status::THERE).unwrap());
    server.kill();
    let gone = catalog.get(image.id).unwrap_err().to_string();
    assert!(!gone.contains(PASSWORD), "{gone}");
}

#[test]
#[ignore = "needs MariaDB"]
fn who_may_not_enter_is_told_so_at_once_and_without_the_password() {
    let server = Server::shared();
    let name = server.new_database();
    let started = Instant::now();
    let wrong = server.url(&name).replace("p%40ss", "guessed");
    for (url, word) in [(wrong, "Access denied"), (server.url("absent"), "Unknown database")] {
        let Err(Error::Config(why)) = try_open(&at(&url)) else { panic!("{url} was opened") };
        assert!(why.contains(word) && !why.contains("guessed"), "{why}");
    }
    assert!(started.elapsed() < Duration::from_secs(9), "nothing is to be gained by trying again");
}

#[test]
#[ignore = "needs MariaDB"]
fn a_busy_pool_is_bounded_and_says_so() {
    let (database, catalog, _) = catalog();
    let image = image();
    catalog.insert(&image).unwrap();
    let Place::Server(mut server) = database.place.clone() else { panic!("no server") };
    (server.max_pool_size, server.max_overflow) = (2, 1);
    let small = MysqlCatalog::open(&server, None).unwrap();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert!(small.get(image.id).unwrap().is_some());
                }
            });
        }
    });
    let connections = "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE()";
    // This one, the small pool's two, and the other catalog's.
    assert!(Raw::to(&database).number(connections) <= 4);
}

/// Whether an image is reported in the end.
fn reported(changes: &mut ForeignChanges, catalog: &dyn Catalog, wanted: ImageId) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if changes.poll(catalog).unwrap().contains(&wanted) {
            return true;
        }
        thread::sleep(Duration::from_millis(100));
    }
    false
}

#[test]
#[ignore = "needs MariaDB"]
fn changes_of_others_are_seen_of_whatever_kind() {
    let (database, mine, _) = catalog();
    let others = open(&database);
    let old = image();
    others.insert(&old).unwrap();
    let mut changes = ForeignChanges::from_now(&mine).unwrap();
    // All within one second of the stamps.
    let mut seen = |what: &str, done: bool| {
        assert!(done, "{what}");
        assert!(reported(&mut changes, &mine, old.id), "{what}");
    };
    for name in ["a", "b", "c"] {
        let new = Image { name: Some(name.to_string()), ..old.clone() };
        seen(name, others.save(&old, &new, Status::THERE).unwrap());
    }
    let member = Member {
        project: project("p2"),
        status: MemberStatus::Pending,
        created_at: now(),
        updated_at: now(),
    };
    seen("added", others.add_member(old.id, &member).is_ok());
    let accept = |status| others.set_member_status(old.id, &member.project, status, now()).unwrap();
    seen("accepted", accept(MemberStatus::Accepted));
    seen("rejected", accept(MemberStatus::Rejected));
    seen("removed", others.remove_member(old.id, &member.project, now()).unwrap());
    seen("deleted", others.delete(old.id, Status::THERE).unwrap());
    // A clock that is behind.
    let late = image();
    let behind = Image {
        updated_at: glancefs::catalog::model::Timestamp::from_micros(now().as_micros() - 5_000_000),
        ..late
    };
    others.insert(&behind).unwrap();
    assert!(reported(&mut changes, &mine, behind.id));
    // And then there is peace.
    thread::sleep(Duration::from_millis(2100));
    changes.poll(&mine).unwrap();
    assert_eq!(changes.poll(&mine).unwrap(), []);
}

#[test]
#[ignore = "needs MariaDB"]
fn a_member_that_comes_and_goes_within_a_second_is_recorded_each_time() {
    let (_, catalog, mut raw) = catalog();
    let image = image();
    catalog.insert(&image).unwrap();
    let member = Member {
        project: project("p2"),
        status: MemberStatus::Accepted,
        created_at: now(),
        updated_at: now(),
    };
    for _ in 0..3 {
        catalog.add_member(image.id, &member).unwrap();
        assert!(catalog.remove_member(image.id, &member.project, now()).unwrap());
    }
    catalog.add_member(image.id, &member).unwrap();
    assert!(catalog.delete(image.id, Status::THERE).unwrap());
    assert_eq!(raw.number("SELECT count(*) FROM image_members WHERE deleted = 1"), 4);
}

#[test]
#[ignore = "needs MariaDB"]
fn a_broken_off_creation_is_finished() {
    let database = on_server(&Server::shared().new_database());
    let tables = include_str!("../../src/catalog/mysql/schema.sql");
    let mut raw = Raw::to(&database);
    for statement in tables.split_inclusive(";\n").take(3) {
        raw.execute(statement.trim().trim_end_matches(';'), &[]);
    }
    let catalog = open(&database);
    assert_eq!(catalog.summary().unwrap().images, 0);
    assert_eq!(catalog.resource_types().unwrap(), []);
}

#[test]
#[ignore = "needs MariaDB"]
fn tls_is_spoken_when_it_is_asked_for_and_the_server_is_checked() {
    let tls = |name: &str| format!("{}/tests/data/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let server = Server::start(&[
        &format!("--ssl-cert={}", tls("server.pem")),
        &format!("--ssl-key={}", tls("server.key")),
        &format!("--ssl-ca={}", tls("authority.pem")),
    ]);
    let plain = server.url(&server.new_database());
    server.run("ALTER USER glance@'127.0.0.1' REQUIRE X509");
    let by_name = plain.replace("@127.0.0.1:", "@localhost:");
    let trusted = format!("&ssl_ca={}", tls("authority.pem"));
    let ourselves = format!("&ssl_cert={}&ssl_key={}", tls("client.pem"), tls("client.key"));
    let entered = |url: &str, options: &[&str]| {
        let mut database = at(&(url.to_string() + &options.concat()));
        if let Place::Server(server) = &mut database.place {
            server.max_retries = Some(0);
        }
        try_open(&database).map(drop)
    };
    entered(&by_name, &[&trusted, &ourselves]).unwrap();
    entered(&plain, &[&trusted, &ourselves, "&ssl_check_hostname=false"]).unwrap();
    entered(&plain, &[&ourselves]).unwrap();
    let other = format!("&ssl_ca={}", tls("other-authority.pem"));
    for (url, options) in [
        (&plain, vec![]),
        (&by_name, vec![&*trusted]),
        (&plain, vec![&*trusted, &*ourselves]),
        (&by_name, vec![&*other, &*ourselves]),
    ] {
        assert!(matches!(entered(url, &options), Err(Error::Config(_))), "{options:?}");
    }
}

//! Both sides of a real socket.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use super::client::Conversation;
use super::protocol::{Reply, Request};
use super::*;
use crate::error::{Error, Result};

fn report() -> StatusReport {
    StatusReport {
        version: "0.1.0".into(),
        pid: 42,
        started_at: "2026-11-21T10:00:00Z".into(),
        mounts: vec![MountReport { mountpoint: "/images".into(), options: "rw".into() }],
        api: Some("127.0.0.1:9292".into()),
        images: 3,
        uploads: vec![UploadReport {
            id: "f6a0dbd2-6a0c-4c3b-a7c1-54d20aa6cba1".into(),
            name: Some("a\nb".into()),
            bytes: 1_500_000,
            rate: 250_000,
            seconds: 6.0,
        }],
        imports: (1, 2),
        cache: None,
        disk_cache: None,
        stores: vec![StoreReport {
            name: "file".into(),
            kind: "file".into(),
            total: Some(2_000_000_000),
            available: Some(1_000_000_000),
            silent_since: None,
        }],
        unfinished: 0,
        pending_delete: 0,
    }
}

/// A daemon with one image, `known`.
struct Fake;

impl Operations for Fake {
    fn status(&self) -> StatusReport {
        report()
    }

    fn cached(&self) -> Result<CacheList> {
        Err(Error::Unsupported("no cache".into()))
    }

    fn prefetch(
        &self,
        image: &str,
        go_on: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<CachedReport> {
        assert!((0..3).all(|bytes| go_on(Progress { bytes, size: 3 })));
        match image {
            "known" => Ok(cached()),
            _ => Err(Error::Missing(format!("no image {image}"))),
        }
    }

    fn evict(&self, image: Option<&str>) -> Result<usize> {
        Ok(image.map_or(7, |_| 1))
    }

    fn pending(&self) -> Result<PendingList> {
        Ok(PendingList { waiting: vec![waiting()] })
    }

    fn scrub(&self, go_on: &mut dyn FnMut(Progress) -> bool) -> Result<ScrubReport> {
        assert!(go_on(Progress::default()));
        Ok(ScrubReport { scrubbed: vec![waiting()], ..ScrubReport::default() })
    }

    fn restore(&self, id: &str) -> Result<String> {
        Err(Error::Gone(format!("{id} is gone")))
    }
}

fn cached() -> CachedReport {
    CachedReport {
        id: "f6a0dbd2-6a0c-4c3b-a7c1-54d20aa6cba1".into(),
        name: Some("a\nb".into()),
        size: 3,
        allocated: 4096,
        cached_at: "2026-11-21T10:00:00Z".into(),
        used_at: "2026-11-21T10:00:01Z".into(),
        hits: 2,
        open: true,
    }
}

#[test]
fn a_request_with_an_argument_gets_progress_and_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let _socket = serve(dir.path(), Arc::new(Fake)).unwrap();
    let ask = |request: Request| Conversation::begin(dir.path(), &request, DEADLINE).unwrap();
    let mut replies = ask(Request::CachePrefetch("known".into()));
    for bytes in 0..3 {
        assert_eq!(replies.next().unwrap(), Reply::Progress(Progress { bytes, size: 3 }));
    }
    assert_eq!(replies.next().unwrap(), Reply::Cached(cached()));
    assert!(matches!(replies.next(), Err(Error::Conflict(_))), "that was all");
    // A name as long as there are, that escapes to six times its length.
    let name = "\u{1}".repeat(255);
    let mut replies = ask(Request::CachePrefetch(name.clone()));
    let refused = (0..4).find_map(|_| replies.next().err()).unwrap();
    assert_eq!(refused.to_string(), format!("no image {name}"));
    assert_eq!(ask(Request::CacheEvictAll).next().unwrap(), Reply::Evicted(7));
    let refused = ask(Request::CacheList).next().unwrap_err();
    assert_eq!(refused.to_string(), "no cache");
}

fn waiting() -> PendingReport {
    PendingReport {
        id: "f6a0dbd2-6a0c-4c3b-a7c1-54d20aa6cba1".into(),
        name: Some("a\nb".into()),
        size: Some(3000),
        deleted_at: "2026-11-21T10:00:00Z".into(),
        due_at: "2026-11-22T10:00:00Z".into(),
    }
}

#[test]
fn deleted_images_are_asked_for_scrubbed_and_brought_back() {
    let dir = tempfile::tempdir().unwrap();
    let _socket = serve(dir.path(), Arc::new(Fake)).unwrap();
    let list = scrub::pending(dir.path()).unwrap().to_string();
    for part in ["a\\nb", "3.0 kB", "due 2026-11-22T10:00:00Z", "1 waiting"] {
        assert!(list.contains(part), "{part} in\n{list}");
    }
    let report = scrub::scrub(dir.path()).unwrap();
    assert!(report.to_string().starts_with("scrubbed  f6a0dbd2"), "{report}");
    assert_eq!(scrub::restore(dir.path(), "x").unwrap_err().to_string(), "x is gone");
    drop(_socket);
    assert!(matches!(scrub::scrub(dir.path()), Err(Error::NotFound(_))));
}

#[test]
fn the_list_shows_each_image_on_its_line() {
    let filling = Some(FillReport { id: "x".into(), bytes: 1, size: 4 });
    let queued = vec!["y".into()];
    let list = CacheList { cached: vec![cached()], filling, queued, used: 1000, limit: 5000 };
    let text = list.to_string();
    assert_eq!(text.lines().count(), 4, "{text}");
    for part in ["a\\nb", "open", "copying  x (25 % of 4 B)", "waiting  y", "1.0 kB of 5.0 kB"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn a_client_gets_the_report_and_the_socket_goes_with_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let socket = serve(dir.path(), Arc::new(Fake)).unwrap();
    let path = dir.path().join(SOCKET_NAME);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for _ in 0..3 {
        assert_eq!(fetch(dir.path()).unwrap(), report());
    }
    drop(socket);
    assert!(!path.exists());
    assert!(matches!(fetch(dir.path()), Err(Error::NotFound(_))));
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let _first = serve(dir.path(), Arc::new(Fake)).unwrap();
    let second = serve(dir.path(), Arc::new(Fake)).unwrap_err();
    assert!(matches!(&second, Error::Conflict(m) if m.contains("--state-dir")), "{second}");
    assert_eq!(fetch(dir.path()).unwrap(), report());
}

#[test]
fn a_socket_left_behind_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap());
    assert!(matches!(fetch(dir.path()), Err(Error::NotFound(_))));
    let _socket = serve(dir.path(), Arc::new(Fake)).unwrap();
    assert_eq!(fetch(dir.path()).unwrap(), report());
}

#[test]
fn a_state_directory_may_have_a_long_path() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let socket = serve(&deep, Arc::new(Fake)).unwrap();
    assert_eq!(fetch(&deep).unwrap(), report());
    drop(socket);
    assert!(!deep.join(SOCKET_NAME).exists());
}

#[test]
fn clients_that_send_nonsense_or_too_much_do_not_stop_it() {
    let dir = tempfile::tempdir().unwrap();
    let _socket = serve(dir.path(), Arc::new(Fake)).unwrap();
    for command in ["restart\n".to_owned(), "x".repeat(1 << 16)] {
        let mut client = UnixStream::connect(dir.path().join(SOCKET_NAME)).unwrap();
        // The daemon may hang up before it has taken everything.
        let _ = client.write_all(command.as_bytes());
        let mut answer = String::new();
        if client.read_to_string(&mut answer).is_ok() {
            assert!(answer.contains("unknown command"), "{answer}");
        }
    }
    assert_eq!(fetch(dir.path()).unwrap(), report());
}

#[test]
fn the_table_shows_everything_and_names_stay_on_their_line() {
    let table = report().to_string();
    for part in ["127.0.0.1:9292", "/images (rw)", "1.5 MB", "250.0 kB/s", "1.0 GB of 2.0 GB free"]
    {
        assert!(table.contains(part), "{part} in\n{table}");
    }
    assert!(table.contains("a\\nb"));
}

#[test]
fn people_are_told_what_does_not_answer_and_what_is_not_done() {
    let mut report = report();
    let shown = report.to_string();
    assert!(!shown.contains("answered") && !shown.contains("undoing"), "{shown}");
    report.stores[0].silent_since = Some("2026-11-21T10:05:00Z".into());
    report.unfinished = 2;
    let shown = report.to_string();
    let store = "1.0 GB of 2.0 GB free, has not answered since 2026-11-21T10:05:00Z\n";
    assert!(shown.contains(store) && shown.contains("undoing  2 interrupted"), "{shown}");
}

//! Downloads from real servers on this machine, under names that only these tests know.

mod server;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::*;
use server::{Server, answer, chunked};

const SECRET: &str = "a secret of the inside";

/// Names that mean one address after the other, and then the last one for ever.
#[derive(Debug, Default)]
struct Names {
    known: HashMap<&'static str, Vec<&'static str>>,
    asked: AtomicUsize,
}

impl Resolve for Names {
    fn resolve(&self, name: &str, _: Duration) -> Vec<IpAddr> {
        let times = self.asked.fetch_add(1, Ordering::SeqCst);
        let Some(answers) = self.known.get(name) else { return Vec::new() };
        let answer = answers.get(times).or(answers.last()).unwrap();
        answer.split(' ').map(|address| address.parse().unwrap()).collect()
    }
}

fn names(known: &[(&'static str, &[&'static str])]) -> Arc<Names> {
    let known = known.iter().map(|(name, answers)| (*name, answers.to_vec())).collect();
    Arc::new(Names { known, asked: AtomicUsize::new(0) })
}

/// Any port; of this machine only 127.0.0.2, so that 127.0.0.1 can play the inside.
fn rules() -> WebRules {
    let mut rules =
        WebRules { networks: vec!["127.0.0.2".parse().unwrap()], ..WebRules::default() };
    rules.ports.allowed.clear();
    rules
}

fn web() -> Web {
    let known = names(&[
        ("outside.example", &["127.0.0.2"]),
        ("inside.example", &["127.0.0.1"]),
        ("metadata.example", &["169.254.169.254"]),
        ("mapped.example", &["::ffff:127.0.0.1 ::ffff:10.0.0.1"]),
        ("both.example", &["127.0.0.1 10.0.0.1 127.0.0.2"]),
        ("tls.example", &["127.0.0.2"]),
        ("other.example", &["127.0.0.2"]),
    ]);
    Web { silence: Duration::from_millis(400), ..Web::with_resolver(rules(), known) }
}

fn nobody() -> Result<Trust> {
    Ok(Trust::of(&[]))
}

fn long() -> Watch {
    Watch::new(Duration::from_secs(30))
}

fn fetch_with(web: &Web, uri: &str, cap: u64, watch: &Watch) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut sink = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    let count = web.download_trusting(&nobody, uri, cap, watch, &mut sink)?;
    assert_eq!(count, bytes.len() as u64);
    Ok(bytes)
}

fn fetch(uri: &str) -> Result<Vec<u8>> {
    fetch_with(&web(), uri, 1 << 20, &long())
}

fn words(outcome: Result<Vec<u8>>) -> String {
    outcome.unwrap_err().to_string()
}

#[test]
fn a_whole_answer_is_taken_however_its_end_is_told() {
    let image: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    for reply in [
        answer("200 OK", &[], &image),
        chunked(&image),
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", &image[..]].concat(),
        [b"HTTP/1.0 200 OK\r\n\r\n", &image[..]].concat(),
        // Not asked for, so it is about the file: the bytes are the image.
        answer("200 OK", &["Content-Encoding: gzip"], &image),
    ] {
        let server = Server::on("127.0.0.2", move |_| reply.clone());
        assert!(fetch(&server.uri("outside.example", "/image?x=y")).unwrap() == image);
        assert!(fetch(&server.uri("127.0.0.2", "/image?x=y")).unwrap() == image);
    }
}

#[test]
fn a_request_says_nothing_about_us() {
    let server = Server::on("127.0.0.2", |_| answer("200 OK", &[], b""));
    fetch(&server.uri("outside.example", "/a%20b?c=d#e")).unwrap();
    let request = server.requests().remove(0).to_lowercase();
    let mut lines: Vec<&str> = request.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "get /a%20b?c=d http/1.1");
    let mut names: Vec<_> = lines.iter().map(|line| line.split(':').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent"], "{request}");
    assert!(request.contains(&format!("host: outside.example:{}", server.port)), "{request}");
}

#[test]
fn what_is_inside_is_not_asked_by_any_name() {
    let inside = Server::on("127.0.0.1", |_| answer("200 OK", &[], SECRET.as_bytes()));
    for host in [
        "inside.example",
        "metadata.example",
        "mapped.example",
        "unknown.example",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "2130706433",
        "0x7f000001",
        "127.1",
        "017700000001",
        "0",
        "0.0.0.0",
        "localhost",
        "127.0.0.1.",
        "INSIDE.example.",
        "x@inside.example",
        "169.254.169.254",
        "10.0.0.1",
        "[fd00::1]",
    ] {
        let uri = inside.uri(host, "/");
        assert!(words(fetch(&uri)).contains("does not pass filtering"), "{uri}");
        let refused = web().check(Some(&uri)).unwrap_err();
        let expected = format!("URI for web-download does not pass filtering: {uri}");
        assert_eq!(refused.to_string(), expected);
    }
    assert_eq!(inside.requests(), Vec::<String>::new());
}

#[test]
fn glances_words_for_what_is_no_uri() {
    for (uri, shown) in [(None, "None"), (Some(""), ""), (Some("abc"), "abc")] {
        let words = web().check(uri).unwrap_err().to_string();
        assert_eq!(words, format!("URI for web-download does not pass filtering: {shown}"));
    }
    web().check(Some("http://outside.example:81/x")).unwrap();
}

#[test]
fn of_several_addresses_only_those_that_pass_are_connected_to() {
    let (inside, outside) = Server::pair(
        |_| answer("200 OK", &[], SECRET.as_bytes()),
        |_| answer("200 OK", &[], b"public"),
    );
    assert_eq!(fetch(&outside.uri("both.example", "/")).unwrap(), b"public");
    assert_eq!(inside.requests(), Vec::<String>::new());
}

#[test]
fn a_name_that_changes_its_meaning_is_asked_for_once() {
    let (inside, outside) = Server::pair(
        |_| answer("200 OK", &[], SECRET.as_bytes()),
        |_| answer("200 OK", &[], b"public"),
    );
    let known = names(&[("rebind.example", &["127.0.0.2", "127.0.0.1"])]);
    let web = Web::with_resolver(rules(), Arc::clone(&known) as Arc<dyn Resolve>);
    let uri = outside.uri("rebind.example", "/");
    assert_eq!(fetch_with(&web, &uri, 100, &long()).unwrap(), b"public");
    assert_eq!(known.asked.load(Ordering::SeqCst), 1);
    // And when the check of the request had the good answer, the download has the bad one.
    assert!(words(fetch_with(&web, &uri, 100, &long())).contains("does not pass filtering"));
    assert_eq!(inside.requests(), Vec::<String>::new());
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let server = Server::on("127.0.0.2", |path| match path {
        "/chain/5" => answer("200 OK", &[], b"here"),
        _ => match path.strip_prefix("/chain/").and_then(|step| step.parse::<u8>().ok()) {
            Some(step) => answer("302 Found", &[&format!("Location: {}", step + 1)], b"moved"),
            None => answer("307 Temporary Redirect", &["Location: /loop"], b""),
        },
    });
    assert_eq!(fetch(&server.uri("outside.example", "/chain/0")).unwrap(), b"here");
    assert!(words(fetch(&server.uri("outside.example", "/loop"))).contains("redirects once more"));
    assert_eq!(server.requests().len(), 6 + 6);
}

#[test]
fn a_redirect_goes_nowhere_that_a_request_could_not() {
    let inside = Server::on("127.0.0.1", |_| answer("200 OK", &[], SECRET.as_bytes()));
    let port = inside.port;
    for location in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f.1:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("/\\127.0.0.1:{port}/"),
        format!("\\\\127.0.0.1:{port}/"),
        format!("http:127.0.0.1:{port}/"),
        format!("http://outside.example@127.0.0.1:{port}/"),
        format!("http://inside.example:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "ftp://outside.example/".to_owned(),
        "gopher://127.0.0.1/".to_owned(),
    ] {
        for status in
            ["301 Moved Permanently", "302 Found", "303 See Other", "308 Permanent Redirect"]
        {
            let header = format!("Location: {location}");
            let outside = Server::on("127.0.0.2", move |_| answer(status, &[&header], b""));
            let said = words(fetch(&outside.uri("outside.example", "/")));
            assert!(said.contains("does not pass filtering"), "{location}: {said}");
        }
    }
    assert_eq!(inside.requests(), Vec::<String>::new());
}

#[test]
fn the_operators_lists_hold_for_redirects_too() {
    let server = Server::on("127.0.0.2", |path| match path {
        "/away" => answer("302 Found", &["Location: http://other.example/"], b""),
        _ => answer("200 OK", &[], b"here"),
    });
    let mut web = web();
    let mirror = uri::TargetHost::Name("outside.example".into());
    web.rules.hosts.allowed = vec![mirror];
    let ask = |path| fetch_with(&web, &server.uri("outside.example", path), 100, &long());
    assert_eq!(ask("/").unwrap(), b"here");
    assert!(words(ask("/away")).contains("does not pass filtering"));
}

#[test]
fn only_status_200_is_an_image() {
    for status in [
        "201 Created",
        "204 No Content",
        "206 Partial Content",
        "304 Not Modified",
        "401 Unauthorized",
        "404 Not Found",
        "500 Oops",
        "302 Found",
    ] {
        let server = Server::on("127.0.0.2", move |_| answer(status, &[], b""));
        let said = words(fetch(&server.uri("outside.example", "/a?secret")));
        assert!(said.contains(&format!("status {}", &status[..3])), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn a_part_of_an_answer_is_no_image() {
    for reply in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n12345\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 2",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ] {
        let server = Server::on("127.0.0.2", move |_| reply.to_vec());
        let outcome = fetch(&server.uri("outside.example", "/"));
        assert!(outcome.is_err(), "{}", String::from_utf8_lossy(reply));
    }
    let endless = vec![b'x'; 1 << 20];
    let server =
        Server::on("127.0.0.2", move |_| [b"HTTP/1.1 200 OK\r\nX: ", &endless[..]].concat());
    assert!(fetch(&server.uri("outside.example", "/")).is_err());
}

#[test]
fn an_answer_past_the_cap_is_refused_by_what_it_says_and_by_what_it_is() {
    let image = vec![1; 300_001];
    for reply in [
        answer("200 OK", &[], &image),
        chunked(&image),
        [b"HTTP/1.0 200 OK\r\n\r\n", &image[..]].concat(),
    ] {
        let server = Server::on("127.0.0.2", move |_| reply.clone());
        let uri = server.uri("outside.example", "/");
        let refused = fetch_with(&web(), &uri, 300_000, &long()).unwrap_err();
        assert!(matches!(refused, Error::TooLarge(_)), "{refused}");
        assert_eq!(fetch_with(&web(), &uri, 300_001, &long()).unwrap().len(), 300_001);
    }
}

#[test]
fn a_server_that_falls_silent_is_left() {
    for start in
        [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12"]
    {
        let server = Server::silent_after("127.0.0.2", start);
        let said = words(fetch(&server.uri("outside.example", "/")));
        assert!(said.contains("silent"), "{said}");
    }
}

#[test]
fn a_server_that_drips_is_left_when_the_time_is_up() {
    let server = Server::dripping("127.0.0.2");
    let watch = Watch::new(Duration::from_millis(700));
    let failed = fetch_with(&web(), &server.uri("outside.example", "/"), 1 << 20, &watch);
    assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
}

#[test]
fn a_download_that_is_called_off_ends_while_it_waits() {
    let server = Server::silent_after("127.0.0.2", b"HTTP/1.1 200 OK\r\n\r\n1");
    let web = Web { silence: Duration::from_secs(300), ..web() };
    let watch = Watch::new(Duration::from_secs(300));
    let waiting = watch.clone();
    let uri = server.uri("outside.example", "/");
    let download = thread::spawn(move || fetch_with(&web, &uri, 100, &waiting));
    while server.requests().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    let called_off = Instant::now();
    watch.call_off();
    assert!(matches!(download.join().unwrap(), Err(Error::Gone(_))));
    assert!(called_off.elapsed() < Duration::from_secs(60));
}

#[test]
fn what_the_sink_cannot_take_ends_the_download() {
    let server = Server::on("127.0.0.2", |_| answer("200 OK", &[], b"12345"));
    let mut full = |_: &[u8]| Err(Error::StoreFull("full".into()));
    let uri = server.uri("outside.example", "/");
    let failed = web().download_trusting(&nobody, &uri, 100, &long(), &mut full);
    assert!(matches!(failed, Err(Error::StoreFull(_))));
}

#[test]
fn https_needs_a_certificate_for_the_name_by_an_authority_that_is_trusted() {
    let server = Server::with_tls("127.0.0.2", |_| answer("200 OK", &[], b"safe"));
    let ask = |trust: &dyn Fn() -> Result<Trust>, host: &str| {
        let mut bytes = Vec::new();
        let uri = server.uri(host, "/").replace("http:", "https:");
        let mut sink = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        web().download_trusting(trust, &uri, 100, &long(), &mut sink).map(|_| bytes)
    };
    let trust = || Ok(Trust::of(&[server::authority()]));
    assert_eq!(ask(&trust, "tls.example").unwrap(), b"safe");
    assert!(words(ask(&trust, "other.example")).contains("not valid for name"));
    assert!(words(ask(&nobody, "tls.example")).contains("UnknownIssuer"));
    assert!(ask(&trust, "127.0.0.2").is_err());
}

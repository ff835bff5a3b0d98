//! Downloads that succeed, are refused, and fail.

use serde_json::json;

use super::client::Image;
use super::harness::{Glancefs, Start};
use super::server::Server;
use super::{config, nothing_is_staged, start};

fn noise(glancefs: &Glancefs) -> Vec<u8> {
    std::fs::read(glancefs.noise("source", 3_000_001)).unwrap()
}

#[test]
fn a_download_becomes_an_image_whatever_proxy_the_environment_names() {
    let mut wanted = start("");
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        wanted = wanted.environment(name, "http://127.0.0.1:9");
    }
    let glancefs = wanted.mount();
    let data = noise(&glancefs);
    let server = Server::with(&[("/disk.raw", &data)]);
    let image = Image::create(&glancefs, "raw");
    image.download(&server.uri("/disk.raw"));
    let record = image.settled();
    assert_eq!(record["status"], "active", "{record}");
    assert_eq!(record["size"], data.len());
    assert!(image.data() == data);
    assert!(nothing_is_staged(&glancefs));
    assert_eq!(image.tasks(), ["success"]);
    glancefs.sh("cmp source $M/imported");
}

#[test]
fn nobody_downloads_by_default() {
    let glancefs = Start::default().with_api().mount();
    let image = Image::create(&glancefs, "raw");
    let (status, said) = image.import(&json!({ "name": "web-download", "uri": "http://a/" }));
    assert_eq!(status, 400);
    assert!(said.to_string().contains("Unknown import method name 'web-download'"), "{said}");
}

#[test]
fn what_is_not_public_is_not_asked_unless_the_operator_says_so() {
    let glancefs = Start::default().with_api().config(&config("", "")).mount();
    let server = Server::with(&[("/disk.raw", b"inside")]);
    let image = Image::create(&glancefs, "raw");
    let uri = server.uri("/disk.raw");
    for uri in
        [uri.clone(), uri.replace("127.0.0.1", "localhost"), "http://169.254.169.254/".into()]
    {
        let (status, said) = image.import(&json!({ "name": "web-download", "uri": uri }));
        assert_eq!(status, 400, "{uri}");
        let expected = format!("URI for web-download does not pass filtering: {uri}");
        assert!(said.to_string().contains(&expected), "{said}");
    }
    assert_eq!(server.requests(), 0);
    assert_eq!(image.show()["status"], "queued");
}

#[test]
fn a_download_that_fails_leaves_the_image_queued_and_can_be_asked_for_again() {
    let glancefs = start("").mount();
    let data = noise(&glancefs);
    let server = Server::with(&[("/disk.raw", &data), ("/other.raw", b"QFI\xfb")]);
    let image = Image::create(&glancefs, "raw");
    image.download(&server.uri("/missing"));
    let record = image.settled();
    assert_eq!(record["status"], "queued", "{record}");
    assert!(nothing_is_staged(&glancefs));
    image.download(&server.uri("/disk.raw"));
    assert_eq!(image.settled()["status"], "active");
    assert!(image.data() == data);
    let mut tasks = image.tasks();
    tasks.sort();
    assert_eq!(tasks, ["failure", "success"]);
}

#[test]
fn a_download_past_the_size_cap_is_refused() {
    let text = config("web_download_networks = 127.0.0.1", "")
        .replace("[DEFAULT]\n", "[DEFAULT]\nimage_size_cap = 1000\n");
    let glancefs = Start::default().with_api().config(&text).mount();
    let server = Server::with(&[("/small", &[1; 1000]), ("/large", &[1; 1001])]);
    let image = Image::create(&glancefs, "raw");
    image.download(&server.uri("/large"));
    assert_eq!(image.settled()["status"], "queued");
    image.download(&server.uri("/small"));
    assert_eq!(image.settled()["status"], "active");
}

//! The old API, as old scripts use it.

use std::io::{Read, Write};

use glancefs::api::Settings;

use super::Server;

const CREATE: &str = "x-image-meta-name: cirros\r\nx-image-meta-is_public: True\r\n\
                      x-image-meta-disk_format: raw\r\nx-image-meta-container_format: bare\r\n\
                      x-image-meta-property-os_distro: cirros\r\n";

fn start() -> Server {
    Server::start(Settings { v1: true, ..Settings::default() })
}

/// Makes an image as `glance image-create … < file` does: chunked, with the size in a header.
fn create(server: &Server, more: &str, data: &[u8]) -> String {
    let mut stream = server.connect();
    let size = data.len();
    let head = format!(
        "POST /v1/images HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\
         x-image-meta-size: {size}\r\n{more}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(format!("{size:x}\r\n").as_bytes()).unwrap();
    stream.write_all(data).unwrap();
    stream.write_all(b"\r\n0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn id_of(answer: &str) -> String {
    let at = answer.find("\"id\":\"").unwrap_or_else(|| panic!("{answer}")) + 6;
    answer[at..at + 36].to_owned()
}

fn names(server: &Server, query: &str) -> usize {
    server.request("GET", &format!("/v1/images/detail?{query}"), "").matches("\"name\":").count()
}

#[test]
fn the_old_api_is_not_there_unless_it_is_wanted() {
    let server = Server::start(Settings::default());
    for path in ["/v1/images", "/v1.1/images/detail"] {
        assert!(server.request("GET", path, "").starts_with("HTTP/1.1 300"));
    }
    let versions = start().request("GET", "/", "");
    assert!(
        versions.contains("\"id\":\"v1.1\"") && versions.contains("http://x/v1/"),
        "{versions}"
    );
}

#[test]
fn one_request_makes_an_image_and_headers_show_it() {
    let server = start();
    let made = create(&server, CREATE, &[7; 100_000]);
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    let id = id_of(&made);
    assert!(made.contains(&format!("location: http://x/v1/images/{id}\r\n")), "{made}");
    let path = format!("/v1/images/{id}");
    let head = server.request("HEAD", &path, "");
    for line in [
        "x-image-meta-status: active\r\n",
        "x-image-meta-is_public: True\r\n",
        "x-image-meta-size: 100000\r\n",
        "x-image-meta-property-os_distro: cirros\r\n",
        "x-image-meta-owner: \r\n",
    ] {
        assert!(head.contains(line), "{head}");
    }
    let data = server.request("GET", &path, "");
    assert!(data.ends_with(&"\u{7}".repeat(100_000)) && data.contains("content-length: 100000"));
    assert_eq!(names(&server, "limit=20&name=cirros"), 1);
    assert_eq!(names(&server, "property-os_distro=debian"), 0);
    let index = server.request("GET", "/v1/images", "");
    assert!(index.contains("\"checksum\":") && !index.contains("\"status\":"), "{index}");
    assert!(server.request("DELETE", &path, "").starts_with("HTTP/1.1 200"));
    assert!(server.request("HEAD", &path, "").starts_with("HTTP/1.1 404"));
    assert!(server.request("PATCH", &path, "").contains("allow: GET, HEAD, PUT, DELETE"));
}

#[test]
fn an_image_that_fails_leaves_nothing() {
    let server = start();
    let wrong = format!("{CREATE}x-image-meta-checksum: 00000000000000000000000000000000\r\n");
    let refused = create(&server, &wrong, b"data");
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("did not match"), "{refused}");
    let short = create(&server, &format!("{CREATE}x-image-meta-size: 5\r\n"), b"data");
    assert!(short.starts_with("HTTP/1.1 400"), "{short}");
    let no_format = create(&server, "x-image-meta-name: x\r\n", b"data");
    assert!(no_format.contains("Invalid disk format 'None' for image."), "{no_format}");
    let qcow2 = create(&server, &CREATE.replace("raw", "qcow2"), &[1; 100_000]);
    assert!(qcow2.starts_with("HTTP/1.1 415"), "{qcow2}");
    assert_eq!(names(&server, ""), 0);
}

#[test]
fn data_elsewhere_is_never_taken_over_nor_fetched() {
    let server = start();
    for more in ["x-image-meta-location: file:///etc/passwd", "x-glance-api-copy-from: http://x/y"]
    {
        let refused = server.request("POST", "/v1/images", &format!("{CREATE}{more}\r\n"));
        assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
        let id = server.queued_image();
        let refused = server.request("PUT", &format!("/v1/images/{id}"), &format!("{more}\r\n"));
        assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    }
}

#[test]
fn an_update_changes_what_it_names_and_purges_unless_told_not_to() {
    let server = start();
    let id = id_of(&create(&server, CREATE, b"data"));
    let put = |more: &str| server.request("PUT", &format!("/v1/images/{id}"), more);
    let keep = "x-glance-registry-purge-props: false\r\n";
    let kept = put(&format!("{keep}x-image-meta-name: b\r\nx-image-meta-property-note: n\r\n"));
    assert!(kept.starts_with("HTTP/1.1 200"), "{kept}");
    assert!(kept.contains("\"name\":\"b\"") && kept.contains("\"is_public\":true"), "{kept}");
    assert!(kept.contains("\"os_distro\":\"cirros\"") && kept.contains("\"note\":\"n\""), "{kept}");
    let purged = put("x-image-meta-is_public: False\r\nx-image-meta-property-note: n\r\n");
    assert!(purged.contains("\"properties\":{\"note\":\"n\"}"), "{purged}");
    assert!(purged.contains("\"is_public\":false"), "{purged}");
    let protected = put(&format!("{keep}x-image-meta-protected: True\r\n"));
    assert!(protected.contains("\"protected\":true"), "{protected}");
    let data = format!("{keep}Content-Type: application/octet-stream\r\nContent-Length: 1\r\n");
    assert!(put(&data).starts_with("HTTP/1.1 409"));
}

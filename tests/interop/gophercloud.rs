//! Programs that use gophercloud, as Terraform's provider and Packer do.

use crate::harness::{Running, Start};

#[test]
#[ignore = "needs Go and gophercloud"]
fn images_are_made_changed_shared_imported_and_listed() {
    let glancefs = Start::default().with_api().mount();
    glancefs.noise("data", 3_000_001);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go/images.go");
    let address = glancefs.api.unwrap();
    let mut command = glancefs.script(&format!("exec go run {program} http://{address} data"));
    // Debian's packages of Go libraries are below this directory, and have no modules.
    command.env("GOPATH", "/usr/share/gocode").env("GO111MODULE", "off");
    command.env("GOCACHE", glancefs.scratch().join("go")).env("GOFLAGS", "-p=2");
    let done = Running::start(&mut command).wait();
    assert!(done.ok(), "{}{}", done.stdout, done.stderr);
    assert_eq!(glancefs.sh("ls $M"), "");
}

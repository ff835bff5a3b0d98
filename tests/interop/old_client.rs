//! The `glance` client of 2019, the last whose `--os-image-api-version 1` works: the calls of scripts
//! that were written before 2015.

use crate::harness::{Glancefs, Running, Start};
use crate::program;

/// The command line of `glance …` with the old API.
fn command_line(glancefs: &Glancefs, arguments: &str) -> String {
    let client = program("GLANCEFS_TEST_GLANCECLIENT", "glance");
    format!(
        "{} --os-image-api-version 1 --os-auth-token none --os-image-url http://{} {arguments}",
        client.display(),
        glancefs.api.unwrap()
    )
}

/// Runs it; returns what it prints.
#[track_caller]
fn glance(glancefs: &Glancefs, arguments: &str) -> String {
    let mut command = glancefs.script(&command_line(glancefs, arguments));
    let done = Running::start(command.env("HOME", glancefs.scratch())).wait();
    assert!(done.ok(), "{arguments}: {}{}", done.stdout, done.stderr);
    done.stdout
}

#[test]
#[ignore = "needs the real glance client"]
fn a_script_of_2014_works_as_it_is() {
    let glancefs = Start::default().with_api().config("[DEFAULT]\nenable_v1_api = True\n").mount();
    glancefs.noise("data", 3_000_001);
    glance(
        &glancefs,
        "image-create --name old --is-public=true --disk-format=raw --container-format=bare \
         --property os_distro=cirros --progress < data",
    );
    let made = glancefs.assert_same("old", "data", "raw");
    assert_eq!(glancefs.sh("ls -l $M | tail -n 1 | cut -c 1-10"), "-rw-r--r--\n");
    assert!(glance(&glancefs, "image-list </dev/null").contains(&made.id));
    let shown = glance(&glancefs, "image-show old </dev/null");
    assert!(shown.contains("Property 'os_distro'") && shown.contains("cirros"), "{shown}");
    // Where its input is no terminal, the client takes it for data.
    let update = command_line(&glancefs, "image-update --name new --min-ram 64 old");
    glancefs.sh(&format!("HOME=$PWD script -qec '{update}' /dev/null </dev/null"));
    assert!(glance(&glancefs, "image-show new </dev/null").contains("min_ram"));
    glance(&glancefs, "image-download --file saved new </dev/null");
    glancefs.sh("cmp data saved");
    glance(
        &glancefs,
        "image-create --name file --file data --disk-format raw --container-format bare",
    );
    glance(&glancefs, "image-delete new file </dev/null");
    glancefs.assert_only(&[]);
}

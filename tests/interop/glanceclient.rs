//! The real `glance` client (python-glanceclient), which older scripts and Horizon use, and programs
//! that use openstacksdk.

use crate::harness::{Glancefs, Running, Start};
use crate::program;

/// Two stores of this machine.
fn two_stores() -> Glancefs {
    let mut glancefs = Start::default().config("").with_api().prepare();
    let directory = glancefs.directory().display().to_string();
    let text = format!(
        "[DEFAULT]\nenabled_backends = fast:file, slow:file\n\
         [glance_store]\ndefault_backend = fast\n\
         [fast]\nfilesystem_store_datadir = {directory}/fast\n\
         [slow]\nfilesystem_store_datadir = {directory}/slow\n"
    );
    glancefs.configure(&text);
    glancefs.start_again();
    glancefs
}

/// Runs `glance …` in the scratch directory; returns what it prints.
#[track_caller]
fn glance(glancefs: &Glancefs, arguments: &str) -> String {
    let script = format!(
        "exec {} --os-image-url http://{} --os-auth-token none {arguments}",
        program("GLANCEFS_TEST_OPENSTACK", "glance").display(),
        glancefs.api.unwrap()
    );
    let mut command = glancefs.script(&script);
    let done = Running::start(command.env("HOME", glancefs.scratch())).wait();
    assert!(done.ok(), "{arguments}: {}{}", done.stdout, done.stderr);
    done.stdout
}

/// A row of the tables that it prints.
#[track_caller]
fn cell(table: &str, row: &str) -> String {
    let found = table.lines().find_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        (cells.next() == Some(row)).then(|| cells.next().map(String::from)).flatten()
    });
    found.unwrap_or_else(|| panic!("no {row} in\n{table}"))
}

#[test]
#[ignore = "needs the real glance client"]
fn an_image_from_its_making_to_its_end() {
    let glancefs = two_stores();
    glancefs.noise("data", 3_000_001);
    let made = glance(
        &glancefs,
        "image-create --name one --disk-format raw --container-format bare --file data \
         --progress --property os_distro=debian --tag first",
    );
    let id = cell(&made, "id");
    assert_eq!(cell(&made, "status"), "active");
    glancefs.sh("cmp data $M/one");

    glance(&glancefs, &format!("image-update --name two --visibility public --min-ram 64 {id}"));
    glance(&glancefs, &format!("image-update --remove-property os_distro --property a=b {id}"));
    glance(&glancefs, &format!("image-tag-update {id} second"));
    glance(&glancefs, &format!("image-tag-delete {id} first"));
    let shown = glance(&glancefs, &format!("image-show {id}"));
    assert_eq!(cell(&shown, "name"), "two");
    assert_eq!(cell(&shown, "a"), "b");
    assert_eq!(cell(&shown, "tags"), "[\"second\"]");
    assert_eq!(
        cell(&glance(&glancefs, "image-list --property-filter a=b --tag second"), &id),
        "two"
    );

    glance(&glancefs, &format!("image-download --file saved --progress {id}"));
    glancefs.sh("cmp data saved");
    glance(&glancefs, &format!("image-deactivate {id}"));
    glance(&glancefs, &format!("image-reactivate {id}"));
    glance(&glancefs, &format!("image-delete {id}"));
    assert_eq!(glancefs.sh("ls $M"), "");
    assert_eq!(glancefs.sh("ls ../fast ../slow | grep -- - || true"), "");
}

#[test]
#[ignore = "needs the real glance client"]
fn an_image_is_shared_with_another_project() {
    let glancefs = Start::default().with_api().mount();
    glancefs.noise("data", 1000);
    let made = "image-create --name shared --disk-format raw --container-format bare --file data";
    let id = cell(&glance(&glancefs, made), "id");
    glance(&glancefs, &format!("member-create {id} other"));
    glance(&glancefs, &format!("member-update {id} other accepted"));
    let members = glance(&glancefs, &format!("member-list --image-id {id}"));
    assert_eq!(cell(&members, &id), "other");
    assert!(members.contains("accepted"), "{members}");
    glance(&glancefs, &format!("member-delete {id} other"));
    let members = glance(&glancefs, &format!("member-list --image-id {id}"));
    assert!(!members.contains("other"), "{members}");
}

#[test]
#[ignore = "needs the real glance client"]
fn an_image_is_staged_imported_and_removed_store_by_store() {
    let glancefs = two_stores();
    glancefs.noise("data", 2_000_000);
    let stores = glance(&glancefs, "stores-info");
    assert!(stores.contains("fast") && stores.contains("slow"), "{stores}");
    assert!(glance(&glancefs, "import-info").contains("import-methods"));
    let made = glance(
        &glancefs,
        "image-create-via-import --name one --disk-format raw --container-format bare \
         --import-method glance-direct --file data --all-stores True <&-",
    );
    let id = cell(&made, "id");
    glancefs.sh("for i in $(seq 300); do [ -e $M/one ] && break; sleep 0.1; done; cmp data $M/one");
    let shown = glance(&glancefs, &format!("image-show {id}"));
    assert_eq!(cell(&shown, "stores"), "fast,slow");
    assert!(glance(&glancefs, &format!("image-tasks {id}")).contains("success"));
    assert!(glance(&glancefs, "task-list").contains("success"));
    glance(&glancefs, &format!("stores-delete --store fast {id}"));
    assert_eq!(cell(&glance(&glancefs, &format!("image-show {id}")), "stores"), "slow");
    glancefs.sh("cmp data $M/one");
    glance(&glancefs, &format!("image-import --import-method copy-image --stores fast {id}"));
    glancefs.sh("for i in $(seq 300); do [ -e ../fast/*-* ] && break; sleep 0.1; done");
    glance(&glancefs, "usage");
}

#[test]
#[ignore = "needs the real glance client"]
fn definitions_are_made_shown_and_removed() {
    let glancefs = Start::default().with_api().mount();
    glance(&glancefs, "md-namespace-create --display-name Mine --visibility public mine");
    glance(&glancefs, "md-property-create --name p --title P --type string --schema '{}' mine");
    glance(&glancefs, "md-object-create --name o --schema '{\"properties\": {}}' mine");
    glance(&glancefs, "md-tag-create --name t mine");
    glance(&glancefs, "md-tag-create-multiple --names a,b mine --delim ,");
    glance(&glancefs, "md-resource-type-associate --name OS::Glance::Image mine");
    let shown = glance(&glancefs, "md-namespace-show mine");
    assert_eq!(cell(&shown, "display_name"), "Mine");
    assert!(glance(&glancefs, "md-property-list mine").contains("| P"));
    assert!(glance(&glancefs, "md-object-list mine").contains("| o"));
    assert!(glance(&glancefs, "md-tag-list mine").contains("| b"));
    assert!(glance(&glancefs, "md-resource-type-list").contains("OS::Glance::Image"));
    glance(&glancefs, "md-namespace-update --display-name Yours mine");
    glance(&glancefs, "md-namespace-delete mine");
    assert!(!glance(&glancefs, "md-namespace-list").contains("mine"));
}

#[test]
#[ignore = "needs the real openstacksdk"]
fn a_program_uses_openstacksdk() {
    let glancefs = two_stores();
    glancefs.noise("data", 1_500_000);
    let script = format!(
        "exec {} {}/tests/python/sdk_images.py http://{} data",
        program("GLANCEFS_TEST_OPENSTACK", "python").display(),
        env!("CARGO_MANIFEST_DIR"),
        glancefs.api.unwrap()
    );
    let mut command = glancefs.script(&script);
    let done = Running::start(command.env("HOME", glancefs.scratch())).wait();
    assert!(done.ok(), "{}{}", done.stdout, done.stderr);
    assert_eq!(glancefs.sh("ls ../fast ../slow | grep -- - || true"), "");
}

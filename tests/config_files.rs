//! `glancefs config check` and `glancefs config show`, among others with the configuration files that
//! people published over the years, as they stand there.

// Also outside of the test functions themselves a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const WRITE_UPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/write-ups");

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn config(verb: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glancefs"));
    command.args(["config", verb, "--state-dir", "/nowhere/state"]).args(arguments);
    let done = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { code: done.status.code(), stdout: text(&done.stdout), stderr: text(&done.stderr) }
}

fn write_ups() -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(WRITE_UPS).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    files
}

/// The options that a file sets, as `[section] name`.
fn options_of(file: &Path) -> BTreeSet<String> {
    let assignments = glancefs::config::ini::read(file).unwrap();
    assignments.iter().map(|found| format!("[{}] {}", found.section, found.name)).collect()
}

/// What a published file needs on a machine that has none of the services it names.
fn on_this_machine(directory: &Path) -> String {
    let path = directory.join("90-here.conf");
    let text = "[DEFAULT]\nbind_host = 127.0.0.1\n[database]\nconnection = sqlite:////srv/glance.sqlite\n\
                [paste_deploy]\nflavor =\n[oslo_policy]\npolicy_file =\n";
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn published_files_load_and_every_line_has_an_effect_or_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let here = on_this_machine(directory.path());
    for file in write_ups() {
        let name = file.display().to_string();
        let files = ["--config-file", &name, "--config-file", &here];
        let check = config("check", &files);
        assert_eq!(check.code, Some(0), "{name}: {}", check.stderr);
        let shown = config("show", &[&files[..], &["--origin"]].concat()).stdout;
        let overridden = options_of(Path::new(&here));
        for option in options_of(&file) {
            let (section, bare) = option.split_once("] ").unwrap();
            let in_force = shown.contains(&format!("{name}:"))
                && (shown.contains(&format!("\n{bare} ="))
                    || shown.contains(&format!("as {option}\n")));
            let named = check.stdout.contains(&option);
            assert!(
                in_force || named || overridden.contains(&option),
                "{name}: {section}] {bare} is neither in force nor named: {}\n{shown}",
                check.stdout
            );
        }
    }
}

#[test]
fn published_files_alone_load_or_say_which_line_cannot_be_used_and_what_to_write() {
    for file in write_ups() {
        let name = file.display().to_string();
        let check = config("check", &["--config-file", &name]);
        if check.code != Some(0) {
            assert!(check.stderr.starts_with(&format!("glancefs: {name}:")), "{}", check.stderr);
            assert!(!check.stderr.contains("asdasd") && !check.stderr.contains("GLANCE_DBPASS"));
        }
    }
}

#[test]
fn what_published_files_say_of_stores_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let here = on_this_machine(directory.path());
    let stores = |file: &str| {
        let path = format!("{WRITE_UPS}/{file}");
        let shown = config("show", &["--config-file", &path, "--config-file", &here]).stdout;
        let wanted = [
            "default_store =",
            "rbd_store_pool =",
            "rbd_store_user =",
            "filesystem_store_datadir =",
        ];
        let lines = shown.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        stores("ceph-hammer-api.conf"),
        ["default_store = rbd", "rbd_store_pool = datastore", "rbd_store_user = olimpo"]
    );
    assert_eq!(
        stores("havana-api.conf"),
        ["default_store = rbd", "rbd_store_pool = images", "rbd_store_user = images"]
    );
    assert_eq!(
        stores("juno-api.conf"),
        ["default_store = file", "filesystem_store_datadir = /var/lib/glance/images/"]
    );
    // Of two lines for one option the last one counts.
    assert_eq!(
        stores("packstack-api.conf"),
        ["default_store = rbd", "rbd_store_pool = images", "rbd_store_user = glance"]
    );
}

#[test]
fn later_files_win_and_the_directory_comes_last() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let first =
        write("a.conf", "[DEFAULT]\nbind_port = 1\nimage_tag_quota = 1\nimage_size_cap = 1\n");
    let second = write("b.conf", "[DEFAULT]\nbind_port = 2\nimage_tag_quota = 2\n");
    let third = write("d/50.conf", "[DEFAULT]\nbind_port = 3\n");
    write("d/60.txt", "[DEFAULT]\nbind_port = 4\n");
    let d = directory.path().join("d").display().to_string();
    // The directory counts last, wherever it is named.
    let files = ["--config-dir", &d, "--config-file", &first, "--config-file", &second, "--origin"];
    let shown = config("show", &files).stdout;
    for (place, line) in [
        (format!("{third}:2"), "bind_port = 3"),
        (format!("{second}:3"), "image_tag_quota = 2"),
        (format!("{first}:4"), "image_size_cap = 1"),
        ("default".to_owned(), "image_member_quota = 128"),
        ("command line, --state-dir".to_owned(), "state_dir = /nowhere/state"),
    ] {
        assert!(shown.contains(&format!("# {place}\n{line}\n")), "{line}: {shown}");
    }
}

#[test]
fn what_is_shown_can_be_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.conf");
    let text = "[DEFAULT]\nenabled_backends = Fast:file, slow:file\nbase = /srv\n\
                [glance_store]\ndefault_backend = slow\n\
                [fast]\nfilesystem_store_datadir = $base/$$fast\nstore_description = two\n  lines\n\
                [slow]\nfilesystem_store_datadir = /srv/slow\n";
    fs::write(&path, text).unwrap();
    let once = config("show", &["--config-file", path.to_str().unwrap()]);
    assert!(once.stdout.contains("[Fast]\n"), "{}{}", once.stdout, once.stderr);
    assert!(once.stdout.contains("filesystem_store_datadir = /srv/$$fast\n"), "{}", once.stdout);
    let again = directory.path().join("b.conf");
    fs::write(&again, &once.stdout).unwrap();
    assert_eq!(config("show", &["--config-file", again.to_str().unwrap()]).stdout, once.stdout);
}

#[test]
fn passwords_are_not_shown() {
    let name = format!("{WRITE_UPS}/ceph-hammer-api.conf");
    let directory = tempfile::tempdir().unwrap();
    let here = on_this_machine(directory.path());
    for files in [&["--config-file", &name, "--config-file", &here][..], &["--config-file", &name]]
    {
        for verb in ["check", "show"] {
            let said = config(verb, files);
            assert!(!format!("{}{}", said.stdout, said.stderr).contains("asdasd"), "{verb}");
        }
    }
}

#[test]
fn a_misspelt_option_and_a_broken_line_are_named_with_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.conf");
    fs::write(&path, "[DEFAULT]\nbind_prot = 9292\nworkers = 4\n").unwrap();
    let check = config("check", &["--config-file", path.to_str().unwrap()]);
    assert!(check.stdout.contains(&format!("[DEFAULT] bind_prot ({}:2)", path.display())));
    assert!(check.stdout.contains("1 options have no effect here: [DEFAULT] workers"));
    fs::write(&path, "[DEFAULT]\nbind_port = 9292\nnonsense\n").unwrap();
    let check = config("check", &["--config-file", path.to_str().unwrap()]);
    assert_eq!(check.code, Some(1));
    assert!(check.stderr.contains(&format!("{}:3: ", path.display())), "{}", check.stderr);
    let missing = config("check", &["--config-file", "/no/such.conf"]);
    assert!(missing.stderr.contains("/no/such.conf"), "{}", missing.stderr);
}

//! Starting: what keeps a mount from being made, and what is healed.

use std::fs;

use crate::harness::{Glancefs, Running, Start, Stored, eventually, is_mounted, skipped_on_rbd};

/// Runs the daemon where it cannot start; returns what it says.
fn complaint(fs: &Glancefs) -> String {
    let done = Running::start(&mut fs.command()).wait();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert_eq!(done.stdout, "");
    done.stderr
}

#[test]
fn a_mountpoint_that_cannot_be_used_is_refused_with_what_to_do() {
    let fs = Start::default().prepare();
    fs::remove_dir(fs.mountpoint()).unwrap();
    let said = complaint(&fs);
    assert!(said.contains("does not exist") && said.contains("mkdir"), "{said}");
    fs::write(fs.mountpoint(), "").unwrap();
    let said = complaint(&fs);
    assert!(said.contains("not a directory"), "{said}");
}

#[test]
fn a_second_daemon_is_refused() {
    let fs = Glancefs::mount();
    // The same state directory at another place …
    let place = fs.directory().join("other");
    fs::create_dir(&place).unwrap();
    let mut second = std::process::Command::new(env!("CARGO_BIN_EXE_glancefs"));
    second.args(["mount", "--no-api", "--state-dir"]).arg(fs.state_dir()).arg(&place);
    let done = Running::start(&mut second).wait();
    assert_eq!(done.status.code(), Some(1));
    assert!(done.stderr.contains("another glancefs"), "{}", done.stderr);
    assert!(!is_mounted(&place));
    // … and the same place with another state directory.
    let mut third = std::process::Command::new(env!("CARGO_BIN_EXE_glancefs"));
    third.args(["mount", "--no-api", "--state-dir"]).arg(&place).arg(fs.mountpoint());
    let done = Running::start(&mut third).wait();
    assert_eq!(done.status.code(), Some(1));
    assert!(done.stderr.contains("mount already"), "{}", done.stderr);
    fs.sh("echo fine >$M/a; cat $M/a");
}

#[test]
fn a_port_that_is_taken_is_said_before_anything_is_mounted() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let fs = Start::default().prepare();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_glancefs"));
    command.args(["mount", "--listen", &address, "--state-dir"]).arg(fs.state_dir());
    let done = Running::start(command.arg(fs.mountpoint())).wait();
    assert_eq!(done.status.code(), Some(1));
    assert!(done.stderr.contains("is taken"), "{}", done.stderr);
    assert!(!fs.is_mounted());
}

#[test]
fn options_that_do_not_exist_are_refused() {
    let fs = Start::default().options("repalce").prepare();
    let said = complaint(&fs);
    assert!(said.contains("repalce") && said.contains("replace"), "{said}");
    assert!(!fs.state_dir().exists(), "nothing is made");
}

#[test]
fn a_dead_mount_is_healed() {
    let mut fs = Glancefs::mount();
    fs.sh("echo a >$M/a");
    fs.kill();
    assert!(fs.is_mounted());
    fs.refused("ls $M", "Transport endpoint");
    fs.start_again();
    assert_eq!(fs.sh("cat $M/a"), "a\n");
    assert!(fs.terminate().success());
    assert!(!fs.is_mounted(), "no mount is left below");
}

#[test]
fn what_was_there_is_there_after_a_restart() {
    let mut fs = Start::default().with_api().mount();
    fs.noise("seed", 500_000);
    fs.sh("cp seed $M/a; echo b >$M/b");
    let before = (fs.records(), fs.sh("stat -c '%i %s %Y %Z' $M/*"));
    fs.restart();
    assert_eq!((fs.records(), fs.sh("stat -c '%i %s %Y %Z' $M/*")), before);
    fs.assert_same("a", "seed", "raw");
}

#[test]
fn a_crash_while_files_are_written_leaves_only_what_was_complete() {
    let mut fs = Glancefs::mount();
    fs.sh("echo whole >$M/whole");
    let theirs = crate::harness::Stored { name: "theirs", status: "saving", ..Default::default() };
    let id = fs.glance_stores(&theirs);
    let writer = fs.spawn("exec 3>$M/half; echo half >&3; echo begun; sleep 60");
    crate::harness::eventually("begun", || writer.printed().contains("begun"));
    fs.kill();
    fs.start_again();
    assert_eq!(fs.sh("ls $M"), "whole\n");
    // Not ours, so not touched: glance-api may be writing it.
    crate::harness::eventually("what was half written is gone", || fs.records().len() == 2);
    assert_eq!(fs.image("theirs").status, "saving");
    fs.glance_sets(&id, "status = 'active'");
    fs.assert_only(&["theirs", "whole"]);
}

#[test]
fn a_crash_at_any_step_of_an_upload_leaves_nothing_wrong() {
    for step in ["record", "finished"] {
        let mut fs = Start::default().environment("GLANCEFS_CRASH_AT", step).mount();
        fs.noise("seed", 200_000);
        assert!(!fs.try_sh("cp seed $M/a").ok(), "{step}");
        fs.wait();
        fs.restart_clean();
        assert_eq!(fs.sh("ls $M"), "", "{step}");
        fs.assert_only(&[]);
        fs.sh("cp seed $M/a");
        fs.assert_same("a", "seed", "raw");
    }
}

#[test]
fn an_upload_of_another_is_given_up_when_its_file_is_written_no_more() {
    if skipped_on_rbd("the time of a file tells that its writer lives") {
        return;
    }
    let fs = Start::default().config("[glancefs]\ngive_up_uploads_after = 4\n").mount();
    let id = fs.glance_stores(&Stored { name: "a", data: b"begun", ..Stored::default() });
    let file = fs.datadir().join(&id);
    let writer =
        fs.spawn(&format!("until [ -e done ]; do echo more >>{}; sleep 0.1; done", file.display()));
    fs.sql(&format!(
        "UPDATE images SET status = 'saving', updated_at = '2026-01-01 00:00:00' WHERE id = '{id}'; \
         DELETE FROM image_locations WHERE image_id = '{id}'"
    ));
    std::thread::sleep(std::time::Duration::from_secs(7));
    assert_eq!(fs.image("a").status, "saving");
    assert!(file.exists());
    fs.sh("touch done");
    assert!(writer.wait().ok());
    eventually("it is given up", || fs.image("a").status == "queued");
    assert!(!file.exists());
}

#[test]
fn a_mountpoint_may_have_any_name() {
    let fs = Start::default().prepare();
    let place = fs.directory().join("my images\\ü\n");
    fs::create_dir(&place).unwrap();
    for _ in 0..2 {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_glancefs"));
        command.args(["mount", "--no-api", "--state-dir"]).arg(fs.state_dir()).arg(&place);
        let daemon = Running::start(&mut command);
        crate::harness::eventually("mounted", || daemon.printed().contains("images are in"));
        daemon.signal(rustix::process::Signal::KILL);
        daemon.wait();
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_glancefs"));
    command.args(["mount", "--no-api", "--state-dir"]).arg(fs.state_dir()).arg(&place);
    let daemon = Running::start(&mut command);
    crate::harness::eventually("mounted", || daemon.printed().contains("images are in"));
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.wait().ok());
    fs::remove_dir(&place).expect("nothing is mounted there any more");
}

//! Ending: by a signal, by `umount`, while nothing or something is under way.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Glancefs, Start, eventually};

#[test]
fn a_signal_ends_an_idle_daemon_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut fs = Start::default().with_api().mount();
        fs.sh("echo a >$M/a; cat $M/a");
        let told = Instant::now();
        fs.signal(signal);
        assert_eq!(fs.wait().code(), Some(0), "{}", fs.log());
        // Less than what uploads in progress would be given.
        assert!(told.elapsed() < Duration::from_secs(5));
        assert!(!fs.is_mounted());
        fs.assert_only(&["a"]);
    }
}

#[test]
fn unmounting_ends_the_daemon() {
    for command in ["fusermount3 -u", "fusermount3 -uz"] {
        let mut fs = Glancefs::mount();
        fs.sh(&format!("echo a >$M/a; {command} $M"));
        assert_eq!(fs.wait().code(), Some(0), "{}", fs.log());
        assert!(!fs.is_mounted());
        fs.assert_only(&["a"]);
        fs.start_again();
        assert_eq!(fs.sh("cat $M/a"), "a\n");
    }
}

#[test]
fn a_writer_may_finish_after_the_daemon_was_told_to_end() {
    let mut fs = Glancefs::mount();
    let writer =
        fs.spawn("exec 3>$M/f; printf a >&3; echo begun; sleep 1; printf b >&3; exec 3>&-");
    eventually("begun", || writer.printed().contains("begun"));
    assert_eq!(fs.terminate().code(), Some(0), "{}", fs.log());
    let done = writer.wait();
    assert!(done.ok(), "{done:?}");
    fs.start_again();
    assert_eq!(fs.sh("cat $M/f"), "ab");
    fs.assert_only(&["f"]);
}

#[test]
fn what_is_held_back_is_published_at_the_end() {
    let mut fs = Glancefs::mount();
    let writer = fs.spawn_python(
        "
f = open(M + '/f', 'w+b'); f.write(b'held'); f.close()
print('closed', flush=True); time.sleep(60)
",
    );
    eventually("closed", || writer.printed().contains("closed"));
    assert_eq!(fs.terminate().code(), Some(0), "{}", fs.log());
    fs.start_again();
    assert_eq!(fs.sh("cat $M/f"), "held");
    fs.assert_only(&["f"]);
}

#[test]
fn a_writer_that_does_not_finish_is_dropped_in_the_end() {
    let mut fs = Glancefs::mount();
    let writer = fs.spawn("exec 3>$M/f; printf a >&3; echo begun; sleep 60");
    eventually("begun", || writer.printed().contains("begun"));
    assert_eq!(fs.terminate().code(), Some(0), "{}", fs.log());
    assert!(!fs.is_mounted());
    fs.assert_only(&[]);
}

#[test]
fn files_that_are_open_for_reading_hold_nothing_up() {
    let mut fs = Glancefs::mount();
    let reader = fs.spawn("echo a >$M/a; exec 3<$M/a; cd $M; echo open; sleep 60");
    eventually("open", || reader.printed().contains("open"));
    assert_eq!(fs.terminate().code(), Some(0), "{}", fs.log());
    assert!(!fs.is_mounted());
}

#[test]
fn a_lazy_unmount_while_a_file_is_written_loses_nothing() {
    let mut fs = Glancefs::mount();
    let writer =
        fs.spawn("exec 3>$M/f; printf a >&3; echo begun; sleep 1; printf b >&3; exec 3>&-");
    eventually("begun", || writer.printed().contains("begun"));
    fs.sh("fusermount3 -uz $M");
    let done = writer.wait();
    assert!(done.ok(), "{done:?}");
    assert_eq!(fs.wait().code(), Some(0), "{}", fs.log());
    fs.assert_only(&["f"]);
}

#[test]
fn cp_of_a_large_file_and_sigterm_end_in_all_or_nothing() {
    let mut fs = Glancefs::mount();
    fs.noise("seed", 60_000_000);
    let copy = fs.spawn("cp seed $M/big");
    eventually("it has begun", || !fs.records().is_empty());
    assert_eq!(fs.terminate().code(), Some(0), "{}", fs.log());
    let complete = copy.wait().ok();
    fs.start_again();
    if complete {
        fs.assert_same("big", "seed", "raw");
        fs.assert_only(&["big"]);
    } else {
        fs.assert_only(&[]);
    }
}

#[test]
fn a_writer_that_is_stopped_does_not_hold_others_up() {
    let fs = Glancefs::mount();
    let writer = fs.spawn("exec 3>$M/f; echo a >&3; echo begun; sleep 60");
    eventually("begun", || writer.printed().contains("begun"));
    writer.signal(Signal::STOP);
    fs.sh("echo b >$M/g; cat $M/g; ls -l $M; mv $M/g $M/h; rm $M/h");
    writer.signal(Signal::KILL);
    writer.wait();
    eventually("nothing is left", || fs.records().is_empty());
}

//! What a program in the sandbox can and cannot do.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use super::*;
use glancefs::error::Error;
use glancefs::images::import::plugins::sandbox::{COMMAND, Limits};

const LIMITS: Limits = Limits { memory: 1 << 30, cpu: 60, length: 1 << 20 };

/// Runs a script; what it wrote.
fn shell(script: &str, limits: Limits, watch: &Watch) -> Result<String> {
    let place = Place::new();
    let input = tempfile::tempfile().unwrap();
    input.write_all_at(b"input", 0).unwrap();
    let output = tempfile::tempfile().unwrap();
    let arguments = ["-c", script].map(OsString::from);
    let files = (&input, &output);
    place.sandbox().run(Path::new("/bin/sh"), &arguments, files, limits, watch)?;
    let mut written = vec![0; output.metadata().unwrap().len() as usize];
    output.read_exact_at(&mut written, 0).unwrap();
    Ok(String::from_utf8(written).unwrap())
}

fn long() -> Watch {
    Watch::new(Duration::from_secs(60))
}

fn says(script: &str) -> String {
    shell(script, LIMITS, &long()).unwrap()
}

#[track_caller]
fn fails(script: &str, limits: Limits) -> String {
    match shell(script, limits, &long()) {
        Err(Error::Invalid(words)) => words,
        other => panic!("{script}: {other:?}"),
    }
}

#[test]
fn it_has_its_files_and_an_empty_world() {
    assert_eq!(says("cat; cat /dev/stdin"), "inputinput");
    assert_eq!(says("env -u PWD -u SHLVL -u _ /usr/bin/env").trim(), "MALLOC_ARENA_MAX=1");
    assert_eq!(says("ls -A"), "");
    // Beside these, only the directory that ls itself reads, and what these tests were started
    // with.
    let inherited = inherited();
    let open = says("ls /proc/self/fd");
    let own: Vec<_> = open.split_whitespace().filter(|fd| !inherited.contains(*fd)).collect();
    assert!(own.len() <= 1, "{open}");
    assert!(says("grep NoNewPrivs /proc/self/status").contains('1'));
    assert_eq!(says("ulimit -c").trim(), "0");
    assert_ne!(says("id -u").trim(), "0");
}

/// The files that every program started by these tests inherits.
fn inherited() -> HashSet<String> {
    const CLOSED_ON_EXEC: u64 = 0o2_000_000;
    let numbers = fs::read_dir("/proc/self/fdinfo").unwrap().map(|entry| entry.unwrap().path());
    let kept = numbers.filter(|path| {
        let info = fs::read_to_string(path).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.is_some_and(|flags| {
            u64::from_str_radix(flags.trim(), 8).unwrap() & CLOSED_ON_EXEC == 0
        })
    });
    kept.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn it_gets_no_more_than_its_limits() {
    fails("dd if=/dev/zero of=/dev/null bs=900M count=1", Limits { memory: 500 << 20, ..LIMITS });
    fails("while :; do :; done", Limits { cpu: 1, ..LIMITS });
    fails("head -c 2000000 /dev/zero", LIMITS);
    assert_eq!(says("head -c 1048576 /dev/zero").len(), 1 << 20);
    let raise = "ulimit -v unlimited 2>/dev/null && echo raised || echo kept";
    assert_eq!(says(raise), "kept\n");
}

#[test]
fn its_complaints_are_heard_but_not_for_ever() {
    assert_eq!(fails("echo one >&2; echo two >&2; exit 3", LIMITS), "sh failed: one");
    assert_eq!(fails("exit 3", LIMITS), "sh failed: exit status: 3");
    assert!(fails("kill -9 $$", LIMITS).contains("signal: 9"));
    let chatter = fails("yes complaint | head -c 1000000 >&2; exit 1", LIMITS);
    assert_eq!(chatter, "sh failed: complaint");
}

#[test]
fn what_it_leaves_running_is_ended_and_not_waited_for() {
    let began = Instant::now();
    assert_eq!(says("sleep 300 & echo done"), "done\n");
    assert_eq!(fails("sleep 300 & echo no >&2; exit 1", LIMITS), "sh failed: no");
    // One that has left the group holds nothing up but its own words.
    assert!(fails("setsid sleep 60 & sleep 0.2; exit 1", LIMITS).starts_with("sh failed: exit"));
    assert!(began.elapsed() < Duration::from_secs(50));
}

#[test]
fn it_ends_with_all_it_started_when_the_time_is_up_or_it_is_called_off() {
    let brief = Watch::new(Duration::from_millis(300));
    let began = Instant::now();
    let outcome = shell("sleep 300 & sleep 300", LIMITS, &brief);
    assert!(matches!(outcome, Err(Error::Io { .. })), "{outcome:?}");
    let watch = long();
    let other = watch.clone();
    let running = thread::spawn(move || shell("sleep 300 & sleep 300", LIMITS, &other));
    thread::sleep(Duration::from_millis(100));
    watch.call_off();
    assert!(matches!(running.join().unwrap(), Err(Error::Gone(_))));
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn it_ends_when_whoever_wanted_it_is_killed() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_glancefs");
    let script = format!(
        "{program} {COMMAND} $$ 1000000000 60 1000000 /bin/sh -c 'echo up; exec sleep 300' & wait"
    );
    let mut parent = Command::new("/bin/sh")
        .args(["-c", &script])
        .current_dir(place.path("staging"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = parent.stdout.take().unwrap();
    output.read_exact(&mut [0; 3]).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    // Its end of the pipe is closed when it is gone.
    assert_eq!(output.read(&mut [0]).unwrap(), 0);
}

#[test]
fn the_command_is_not_for_people() {
    let program = env!("CARGO_BIN_EXE_glancefs");
    for arguments in
        [&[][..], &["1"], &["x", "1", "1", "1", "/bin/true"], &["1", "1", "1", "1", "/bin/true"]]
    {
        let output = Command::new(program).arg(COMMAND).args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
    }
    let help = Command::new(program).arg("--help").output().unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains(COMMAND));
}

//! A cluster that does not answer: what fails does so after one `rados_connect_timeout`, and what
//! needs no answer does not wait for one.

use std::path::Path;
use std::process::Command;

use crate::harness::{Cluster, Glancefs, Running, eventually};
use crate::mount_in_haste;

/// An open in vain that starts later: what waits for one deadline (three seconds by Ceph's clients, or
/// half as much again by ours) has ended before it, what waits for two has not.  Each thing that ended
/// is a line of `ended`.
fn more_than_a_deadline(glancefs: &Glancefs) -> Running {
    glancefs.spawn("sleep 2.2; cat $M/one.raw || echo more than one >>ended")
}

fn in_the_background(glancefs: &Glancefs, what: &str, fails: &str) -> Running {
    glancefs.spawn(&format!("{fails} 2>>errors || echo {what} >>ended"))
}

fn ended(glancefs: &Glancefs) -> Vec<String> {
    let text = std::fs::read_to_string(glancefs.scratch().join("ended")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// `glancefs status`
fn status(glancefs: &Glancefs, state_dir: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glancefs"));
    let done = Running::start(command.arg("status").arg("--state-dir").arg(state_dir)).wait();
    assert!(done.ok(), "{}\n{}", done.stderr, glancefs.log());
    done.stdout
}

/// A Python program that does something to what it has opened before, when `killed` is there.
fn when_killed(glancefs: &Glancefs, what: &str, before: &str, then: &str) -> Running {
    let running = glancefs.spawn_python(&format!(
        "
{before}
print('ready', flush=True)
while not os.path.exists('killed'): time.sleep(0.01)
try:
{then}
    os.close(f)
except OSError as e:
    try: os.close(f)
    except OSError: pass
    with open('ended', 'a') as ended: print('{what}', e.strerror, file=ended)
"
    ));
    eventually("it is ready", || running.printed().contains("ready"));
    running
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn whoever_needs_a_dead_osd_waits_for_one_deadline() {
    let cluster = Cluster::start("memstore");
    let mut glancefs = mount_in_haste(&cluster);
    glancefs.noise("a.raw", 12 << 20);
    glancefs.sh("for n in one two three four five; do cp a.raw $M/$n.raw; done");
    glancefs.restart();
    // The kernel knows each name: to look up a new one it would wait for who removes another.
    glancefs.sh("stat $M/*.raw");
    let read = "f = os.open(M + '/three.raw', os.O_RDONLY)";
    let create =
        "f = os.open(M + '/new.raw', os.O_WRONLY | os.O_CREAT); os.write(f, b'x' * 9000000)";
    let mut started = vec![
        when_killed(&glancefs, "read", read, "    os.read(f, 65536)"),
        when_killed(&glancefs, "write", create, "    while True: os.write(f, os.urandom(1 << 20))"),
        when_killed(&glancefs, "close", &create.replace("new", "other"), "    pass"),
        when_killed(&glancefs, "fsync", &create.replace("new", "third"), "    os.fsync(f)"),
    ];
    cluster.act("kill-osd");
    let later = more_than_a_deadline(&glancefs);
    glancefs.sh("touch killed");
    started.push(in_the_background(&glancefs, "open", "cat $M/four.raw"));
    started.push(in_the_background(&glancefs, "remove", "rm $M/five.raw"));
    later.wait();
    let mut words = ended(&glancefs);
    assert_eq!(words.pop().as_deref(), Some("more than one"), "{words:?}");
    words.sort();
    let expected = [
        "close Input/output error",
        "fsync Input/output error",
        "open",
        "read Input/output error",
        "remove",
        "write Input/output error",
    ];
    assert_eq!(words, expected);
    // Nothing is left but the three that were being written, which are undone when the OSD is back.
    assert_eq!(glancefs.sh("ls $M"), "five.raw\nfour.raw\none.raw\nthree.raw\ntwo.raw\n");
    assert!(status(&glancefs, &glancefs.state_dir()).contains("undoing  3 interrupted"));
    started.into_iter().for_each(|running| drop(running.wait()));
    // Not while a file is being removed, for which the kernel locks the directory.
    let later = more_than_a_deadline(&glancefs);
    let create = in_the_background(&glancefs, "create", "cp a.raw $M/fourth.raw");
    later.wait();
    create.wait();
    let words = ended(&glancefs);
    assert_eq!(words.get(words.len() - 2).map(String::as_str), Some("create"), "{words:?}");
    assert!(glancefs.terminate().success());
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn what_needs_no_answer_does_not_wait_for_one() {
    let cluster = Cluster::start("memstore");
    let mut glancefs = mount_in_haste(&cluster);
    glancefs.sh("for n in one two; do echo $n >$M/$n.raw; done");
    let state_dir = glancefs.state_dir();
    let healthy = status(&glancefs, &state_dir);
    assert!(!healthy.contains("answered"), "{healthy}");
    // Nobody counts the room, since no manager runs.
    glancefs.sh("df $M | grep -q ' 0 .*mount$' && stat -f $M");
    let again = Running::start(&mut glancefs.command()).wait();
    assert!(again.stderr.contains("another glancefs is using"), "{}", again.stderr);
    let mut elsewhere = glancefs.command();
    elsewhere.arg("--state-dir").arg(glancefs.directory().join("other-state"));
    let again = Running::start(&mut elsewhere).wait();
    assert!(!again.stderr.contains("Input/output"), "{}", again.stderr);

    cluster.act("down");
    glancefs.restart();
    let later = more_than_a_deadline(&glancefs);
    glancefs.sh("stat $M/one.raw && ls -l $M && df $M");
    status(&glancefs, &state_dir);
    assert_eq!(ended(&glancefs), [""; 0], "it was waited for");
    later.wait();
    let silent = status(&glancefs, &state_dir);
    assert!(silent.contains("has not answered since 20"), "{silent}");
    assert!(glancefs.terminate().success());
}

//! Files being written: whose they are, and when they come to nothing.

use rustix::process::Signal;

use crate::harness::{Finished, Glancefs, Running, eventually};

/// A program that writes a part of a file, says so, and goes on after a while.
fn half_written(fs: &Glancefs, name: &str) -> Running {
    let writer = fs.spawn_python(&format!(
        "
f = open(M + '/{name}', 'wb', buffering=0)
f.write(b'x' * 100000)
print('half', flush=True)
time.sleep(60)
"
    ));
    eventually("half is written", || writer.printed().contains("half"));
    writer
}

fn nothing_is_left(fs: &Glancefs) {
    eventually("the record goes", || fs.records().is_empty());
    eventually("the journal is empty", || {
        std::fs::read_dir(fs.state_dir().join("journal")).unwrap().count() == 0
    });
    fs.assert_only(&[]);
    assert_eq!(fs.sh("ls -A $M"), "");
}

#[test]
fn a_draft_is_seen_by_its_maker_alone() {
    let fs = Glancefs::mount();
    let writer = fs.spawn_python(
        "
f = open(M + '/d', 'wb', buffering=0)
f.write(b'12345')
assert os.listdir(M) == ['d'] and os.stat(M + '/d').st_size == 5
assert open(M + '/d', 'rb').read() == b'12345'
print('half', flush=True)
while not os.path.exists('go'): time.sleep(0.01)
f.write(b'678')
f.close()
assert os.listdir(M) == ['d'] and os.stat(M + '/d').st_size == 8
",
    );
    eventually("half is written", || writer.printed().contains("half"));
    assert_eq!(fs.sh("ls -A $M $M/.by-id | grep -c . || true"), "2\n", "the two headings");
    fs.refused("stat $M/d", "No such file");
    assert_eq!(fs.image("d").status, "saving");
    fs.sh("touch go");
    let done = writer.wait();
    assert!(done.ok(), "{done:?}");
    assert_eq!(fs.sh("cat $M/d"), "12345678");
}

#[test]
fn two_programs_may_write_one_name_at_once() {
    let fs = Glancefs::mount();
    let one = half_written(&fs, "f");
    fs.sh("echo other >$M/f; cat $M/f");
    one.signal(Signal::KILL);
    one.wait();
    eventually("the first went", || fs.records().len() == 1);
    assert_eq!(fs.sh("cat $M/f"), "other\n");
    fs.assert_only(&["f"]);
}

#[test]
fn a_writer_that_is_killed_leaves_nothing() {
    for signal in [Signal::KILL, Signal::TERM] {
        let fs = Glancefs::mount();
        let writer = half_written(&fs, "f");
        writer.signal(signal);
        assert!(!writer.wait().ok());
        nothing_is_left(&fs);
    }
}

#[test]
fn ctrl_c_during_cp_leaves_nothing() {
    let fs = Glancefs::mount();
    fs.sh("mkfifo slow");
    let copy = fs.spawn("cat slow >$M/f");
    let feed = fs.spawn("exec 3>slow; printf half >&3; sleep 60");
    eventually("the copy has begun", || fs.records().len() == 1);
    copy.signal(Signal::INT);
    assert!(!copy.wait().ok());
    drop(feed);
    nothing_is_left(&fs);
}

#[test]
fn a_killed_program_does_not_take_what_it_had_closed_with_it() {
    let fs = Glancefs::mount();
    let writer = fs.spawn_python(
        "
open(M + '/done', 'wb').write(b'done')
f = open(M + '/half', 'wb', buffering=0); f.write(b'half')
r = open(M + '/held', 'w+b'); r.write(b'held'); r.close()
print('half', flush=True); time.sleep(60)
",
    );
    eventually("written", || writer.printed().contains("half"));
    writer.signal(Signal::KILL);
    writer.wait();
    eventually("half went", || fs.records().len() == 2);
    assert_eq!(fs.sh("ls $M; cat $M/done $M/held"), "done\nheld\ndoneheld");
    fs.assert_only(&["done", "held"]);
}

#[test]
fn a_draft_that_is_unlinked_is_dropped() {
    let fs = Glancefs::mount();
    fs.python(
        "
f = open(M + '/d', 'w+b', buffering=0)
f.write(b'x' * 300000)
os.unlink(M + '/d')
assert os.listdir(M) == [] and not os.path.exists(M + '/d')
f.close()
g = open(M + '/d', 'wb'); g.write(b'new'); g.close()
",
    );
    assert_eq!(fs.sh("cat $M/d"), "new");
    fs.assert_only(&["d"]);
}

#[test]
fn a_file_being_written_can_be_renamed() {
    let fs = Glancefs::mount();
    fs.python(
        "
f = open(M + '/.x.AbCd', 'wb', buffering=0)
f.write(b'one ')
os.rename(M + '/.x.AbCd', M + '/x')
assert os.listdir(M) == ['x'], os.listdir(M)
f.write(b'two')
f.close()
",
    );
    assert_eq!(fs.sh("ls -A $M; cat $M/x"), "x\none two");
    fs.assert_only(&["x"]);
    // And afterwards: as rsync does it.
    fs.python(
        "
with open(M + '/.y.AbCd', 'wb') as f: f.write(b'data')
os.rename(M + '/.y.AbCd', M + '/y')
assert sorted(os.listdir(M)) == ['x', 'y']
with open(M + '/.z.AbCd', 'w+b') as f: f.write(b'held')
os.rename(M + '/.z.AbCd', M + '/z')
assert sorted(os.listdir(M)) == ['x', 'y', 'z']
",
    );
    assert_eq!(fs.sh("ls -A $M; cat $M/y $M/z"), "x\ny\nz\ndataheld");
    fs.assert_only(&["x", "y", "z"]);
}

#[test]
fn a_child_of_the_maker_may_use_the_draft() {
    let fs = Glancefs::mount();
    fs.python(
        "
f = os.open(M + '/d', os.O_WRONLY | os.O_CREAT)
os.set_inheritable(f, True)
os.write(f, b'parent ')
for word in (b'one ', b'two '):
    pid = os.fork()
    if pid == 0:
        os.write(f, word); os._exit(0)
    os.waitpid(pid, 0)
os.write(f, b'parent')
os.close(f)
",
    );
    assert_eq!(fs.sh("cat $M/d"), "parent one two parent");
}

#[test]
fn threads_of_one_program_share_its_drafts() {
    let fs = Glancefs::mount();
    fs.python(
        "
import threading
f = os.open(M + '/d', os.O_RDWR | os.O_CREAT)
def part(n):
    os.pwrite(f, b'%d' % n * 1000, n * 1000)
    assert os.stat(M + '/d').st_size >= 1000
threads = [threading.Thread(target=part, args=(n,)) for n in range(9)]
for t in threads: t.start()
for t in threads: t.join()
t = threading.Thread(target=os.close, args=(f,)); t.start(); t.join()
assert open(M + '/d', 'rb').read() == b''.join(b'%d' % n * 1000 for n in range(9))
",
    );
    fs.sh("for n in 0 1 2 3 4 5 6 7 8; do yes $n | tr -d '\\n' | head -c 1000; done >parts");
    fs.sh("cmp parts $M/d");
    fs.assert_same("d", "parts", "raw");
}

#[test]
fn opening_for_more_after_the_image_is_there_is_refused() {
    let fs = Glancefs::mount();
    let script = "
with open(M + '/d', 'wb') as f: f.write(b'done')
try: open(M + '/d', 'r+b'); sys.exit('opened')
except OSError as e: print(e.errno == errno.EPERM)
";
    assert_eq!(fs.python(script), "True\n", "not for its maker either");
    assert_eq!(fs.sh("cat $M/d"), "done");
}

#[test]
fn an_exclusive_create_of_a_taken_name_is_refused() {
    let fs = Glancefs::mount();
    fs.sh("echo a >$M/a; echo b >b");
    fs.refused("set -C; echo b >$M/a", "exist");
    let done: Finished = fs.try_sh("cp -n b $M/a");
    assert!(done.stderr.len() < 200, "{done:?}");
    assert_eq!(fs.sh("cat $M/a"), "a\n");
}

#[test]
fn many_files_and_many_opens_give_everything_back() {
    let fs = Glancefs::mount();
    // Ceph's libraries start threads, which they keep, with the first image and the first removal.
    fs.sh("echo a >$M/a; cat $M/a; echo b >$M/b; rm $M/b");
    let before = fs.resources();
    fs.python(
        "
for n in range(30):
    f = open(M + '/f%d' % n, 'w+b'); f.write(b'x'); f.close()
    if n % 2: os.unlink(M + '/f%d' % n)
readers = [open(M + '/a', 'rb') for n in range(200)]
os.listdir(M)
",
    );
    assert_eq!(fs.sh("ls $M | wc -l").trim(), "16");
    fs.gives_back(&before);
    assert_eq!(fs.records().len(), 16);
}

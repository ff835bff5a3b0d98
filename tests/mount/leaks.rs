//! In a mount that tells its callers apart, nothing that one looked at shows to another: by no
//! name, through no cache of the kernel's, and at no moment.

use serde_json::{Value, json};

use crate::harness::{Glancefs, Running, Start, Stored, User, eventually, skipped_on_rbd};

const MAP: &str = "[glancefs]\nuid_map = 10001:red:member, 10002:blue:member, 10003:*:admin\n";

fn red() -> User {
    User::new(10001)
}

fn blue() -> User {
    User::new(10002)
}

fn mount() -> Glancefs {
    Start::default().options("allow_other").config(MAP).mount().open_to_all()
}

/// A private image of red's; its id.
fn secret(fs: &Glancefs) -> String {
    let image = Stored { name: "secret", owner: Some("red"), ..Stored::default() };
    let id = fs.glance_stores(&Stored { visibility: "private", data: &[7; 100_000], ..image });
    eventually("seen", || fs.try_sh_as(&red(), "test -e $M/secret").ok());
    id
}

/// Every way to a private image that there is; prints what was possible.
const WAYS: &str = r#"
def tried(what, call):
    try:
        call()
        print('possible:', what)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESTALE, errno.EACCES):
            print('answered:', what, error)
def listed(directory):
    if any(name in ('secret', ID, 'red') for name in os.listdir(directory)): return
    raise FileNotFoundError(errno.ENOENT, directory)
def all_ways():
    for path in ['secret', ID, '.by-id/' + ID, '.by-project/red/secret', '.by-project/red',
                 './/secret', '.by-id/../secret', '.by-project/../' + ID]:
        path = M + '/' + path
        tried('stat ' + path, lambda: os.stat(path))
        tried('lstat ' + path, lambda: os.lstat(path))
        tried('open ' + path, lambda: os.open(path, os.O_RDONLY))
        tried('O_PATH ' + path, lambda: os.open(path, os.O_PATH))
        tried('write ' + path, lambda: os.open(path, os.O_WRONLY))
        tried('truncate ' + path, lambda: os.truncate(path, 0))
        tried('getxattr ' + path, lambda: os.getxattr(path, 'user.glance.name'))
        tried('listxattr ' + path, lambda: os.listxattr(path))
        tried('setxattr ' + path, lambda: os.setxattr(path, 'user.glance.min_ram', b'1'))
        tried('chmod ' + path, lambda: os.chmod(path, 0o666))
        tried('utime ' + path, lambda: os.utime(path))
        tried('access ' + path, lambda: os.access(path, os.F_OK) or os.stat(path))
        tried('rename ' + path, lambda: os.rename(path, M + '/mine'))
        tried('link ' + path, lambda: os.link(path, M + '/mine'))
        tried('unlink ' + path, lambda: os.unlink(path))
        tried('statvfs ' + path, lambda: os.statvfs(path))
    for directory in ['', '/.by-id', '/.by-project']:
        tried('listing of ' + directory, lambda: listed(M + directory))
"#;

fn all_ways(fs: &Glancefs, id: &str, user: &User) -> String {
    fs.python_as(user, &format!("ID = '{id}'\n{WAYS}\nall_ways()"))
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn no_way_leads_to_what_another_has_warmed_up() {
    let fs = mount();
    let id = secret(&fs);
    assert_eq!(all_ways(&fs, &id, &blue()), "", "cold");
    // Looked up by every name, its pages in memory, mapped, and held open.
    let holder = fs.spawn_python_as(
        &red(),
        &format!(
            "
paths = [M + '/secret', M + '/{id}', M + '/.by-id/{id}', M + '/.by-project/red/secret']
files = [open(path, 'rb') for path in paths]
assert all(file.read() == bytes([7]) * 100000 for file in files)
pages = mmap.mmap(files[0].fileno(), 0, prot=mmap.PROT_READ)
assert pages[99999] == 7
directory = os.open(M + '/.by-project/red', os.O_RDONLY)
print('warm', flush=True)
while not os.path.exists('go'):
    for path in paths: os.stat(path), open(path, 'rb').read(10)
    os.listdir(M), os.listdir(directory)
assert open(paths[0], 'rb').read() == bytes([7]) * 100000
print('done')"
        ),
    );
    eventually("warm", || holder.printed().contains("warm"));
    for _ in 0..5 {
        assert_eq!(all_ways(&fs, &id, &blue()), "", "warm");
    }
    // What the kernel remembers is asked for without asking us.
    for name in ["secret", &id, &format!(".by-id/{id}")] {
        let cached = format!("stat --cached=always $M/{name}");
        fs.refused_as(&blue(), &cached, "No such file");
    }
    assert!(all_ways(&fs, &id, &User::new(10009)).is_empty(), "in no map");
    // Not even that the place is taken.
    fs.sh_as(&blue(), "echo mine >$M/secret; cat $M/secret; rm $M/secret");
    fs.sh("touch go");
    let done = holder.wait();
    assert!(done.ok() && done.stdout.ends_with("done\n"), "{done:?}");
    assert_eq!(fs.image("secret").id, id);
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn what_one_does_not_find_another_finds() {
    let fs = mount();
    let id = secret(&fs);
    for _ in 0..20 {
        fs.refused_as(&blue(), &format!("stat $M/secret $M/.by-id/{id}"), "No such file");
        fs.sh_as(&red(), &format!("cat $M/secret $M/.by-id/{id} >/dev/null"));
    }
    // Nor does a name that was not there hide one that was just made.
    fs.refused_as(&red(), "stat $M/later", "No such file");
    fs.refused_as(&blue(), "stat $M/later", "No such file");
    fs.sh_as(&blue(), "echo blue >$M/later");
    fs.refused_as(&red(), "stat $M/later", "No such file");
    fs.sh_as(&red(), "echo red >$M/later");
    assert_eq!(fs.sh_as(&red(), "cat $M/later"), "red\n");
    assert_eq!(fs.sh_as(&blue(), "cat $M/later"), "blue\n");
    assert_eq!(fs.sh_as(&User::new(10003), "ls $M | wc -l"), "3\n");
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn two_who_use_one_name_at_once_never_meet() {
    let fs = mount();
    let run = |user: &User, own: &str| {
        fs.spawn_python_as(
            user,
            &format!(
                "
own, path, end = b'{own}', M + '/same', time.monotonic() + 2
def tried(flags):
    # A name that changes hands at the moment it is used is not there, then.
    try: return os.open(path, flags)
    except OSError as error: assert error.errno in (errno.ENOENT, errno.EEXIST), error
rounds = 0
while time.monotonic() < end:
    file = tried(os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    if file is not None:
        os.write(file, own * 100); os.close(file)
    for k in range(5):
        file = tried(os.O_RDONLY)
        if file is None: continue
        data = os.read(file, 10000)
        assert data == own * 100, data[:50]
        assert os.fstat(file).st_uid == os.getuid()
        os.close(file)
        rounds += 1
    assert os.listdir(M).count('same') == 1
    os.unlink(path)
assert rounds > 10, rounds
"
            ),
        )
    };
    let runs = [run(&red(), "red"), run(&blue(), "blue")];
    for done in runs.map(Running::wait) {
        assert!(done.ok(), "{done:?}");
    }
    fs.assert_only(&[]);
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn more_than_are_kept_in_memory_see_what_they_should() {
    if skipped_on_rbd("it is about records, and storing so many images takes long") {
        return;
    }
    let users = 20000..20040;
    let map: String = users.clone().map(|uid| format!("  {uid}:project-{uid}:member\n")).collect();
    let config = format!("[glancefs]\nuid_map =\n{map}");
    let fs = Start::default().options("allow_other").config(&config).mount().open_to_all();
    for uid in users {
        let (name, owner) = (format!("of-{uid}"), format!("project-{uid}"));
        let image = Stored { name: &name, visibility: "private", ..Stored::default() };
        fs.glance_stores(&Stored { owner: Some(&owner), ..image });
    }
    eventually("all are seen", || fs.sh("ls $M | wc -l") == "40\n");
    fs.python(
        "
for k in range(3):
    for uid in range(20000, 20040):
        os.seteuid(uid)
        assert os.listdir(M) == ['of-%d' % uid], os.listdir(M)
        assert os.listdir(M + '/.by-project') == ['project-%d' % uid]
        open(M + '/of-%d' % uid).read()
        os.seteuid(0)
    time.sleep(0.3)
",
    );
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn an_open_file_is_a_right_of_its_own_and_an_open_directory_is_none() {
    let fs = mount();
    let id = secret(&fs);
    fs.python(
        "
def become(uid): os.seteuid(0); os.seteuid(uid)
def refused(call, *wanted):
    try: call()
    except OSError as error: assert error.errno in wanted, error
    else: sys.exit('possible')
become(10001)
file = os.open(M + '/secret', os.O_RDONLY)
directory = os.open(M, os.O_RDONLY)
draft = os.open(M + '/draft', os.O_WRONLY | os.O_CREAT)
assert 'secret' in os.listdir(directory)
become(10002)
assert os.pread(file, 5, 0) == bytes([7]) * 5
assert os.fstat(file).st_size == 100000
refused(lambda: os.open('/proc/self/fd/%d' % file, os.O_RDONLY), errno.ESTALE, errno.ENOENT)
refused(lambda: os.getxattr(file, 'user.glance.name'), errno.ENOENT)
refused(lambda: os.setxattr(file, 'user.glance.min_ram', b'7'), errno.EPERM, errno.ENOENT)
refused(lambda: os.fchmod(file, 0o666), errno.ENOENT, errno.ESTALE)
os.lseek(directory, 0, 0)
refused(lambda: os.listdir(directory), errno.EACCES)
refused(lambda: os.open('secret', os.O_RDONLY, dir_fd=directory), errno.ENOENT)
refused(lambda: os.stat('secret', dir_fd=directory), errno.ENOENT)
os.write(draft, b'handed on')
assert os.fstat(draft).st_size == 9
refused(lambda: os.stat(M + '/draft'), errno.ENOENT)
refused(lambda: os.setxattr(draft, 'user.glance.min_ram', b'7'), errno.ENOENT, errno.EPERM)
refused(lambda: os.open('/proc/self/fd/%d' % draft, os.O_RDWR), errno.EPERM, errno.ENOENT)
os.close(draft)
",
    );
    let made = fs.image("draft");
    assert_eq!((made.owner.as_deref(), made.size), (Some("red"), Some(9)));
    assert_eq!(fs.image("secret").id, id);
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn what_is_being_written_is_seen_by_nobody_else() {
    let fs = mount();
    let writer = fs.spawn_python_as(
        &red(),
        "
f = os.open(M + '/draft', os.O_WRONLY | os.O_CREAT)
os.write(f, b'x' * 1000)
os.stat(M + '/draft')
print('half', flush=True)
while not os.path.exists('go'): time.sleep(0.01)
os.close(f)",
    );
    eventually("half is written", || writer.printed().contains("half"));
    let id = fs.image("draft").id;
    for user in [&blue(), &User::new(10003), &User::new(10009)] {
        let seen = fs.sh_as(user, "ls $M $M/.by-id");
        assert!(!seen.contains("draft") && !seen.contains(&id), "{seen}");
        fs.refused_as(user, &format!("cat $M/draft $M/{id} $M/.by-id/{id}"), "No such file");
    }
    fs.sh("touch go");
    assert!(writer.wait().ok());
    assert_eq!(fs.sh_as(&red(), "cat $M/draft | wc -c"), "1000\n");
    fs.refused_as(&blue(), "cat $M/draft", "No such file");
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn what_went_wrong_for_one_is_not_told_to_another() {
    let fs = mount();
    let public = Stored { name: "held", owner: Some("red"), protected: true, ..Stored::default() };
    let id = fs.glance_stores(&public);
    eventually("seen", || fs.try_sh_as(&red(), "test -e $M/held").ok());
    fs.refused_as(&red(), "rm -f $M/held", "not permitted");
    let said = "getfattr --only-values -n user.glance.error $M";
    assert!(fs.sh_as(&red(), said).contains(&id));
    fs.refused_as(&blue(), said, "No such attribute");
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn sharing_shows_at_once_and_so_does_its_end() {
    let fs = Start::default().options("allow_other").config(MAP).with_api().mount().open_to_all();
    let image = Stored { name: "offered", owner: Some("red"), ..Stored::default() };
    let id = fs.glance_stores(&Stored { visibility: "shared", ..image });
    eventually("seen", || fs.try_sh_as(&red(), "test -e $M/offered").ok());
    let members = format!("/v2/images/{id}/members");
    let cannot = || fs.refused_as(&blue(), &format!("cat $M/offered $M/{id}"), "No such file");
    cannot();
    fs.ask("POST", &members, json!({"member": "blue"}));
    // Found by who was told of it; listed once it is accepted.
    assert_eq!(fs.sh_as(&blue(), &format!("ls $M; cat $M/{id}")), "stored");
    fs.ask("PUT", &format!("{members}/blue"), json!({"status": "accepted"}));
    assert_eq!(fs.sh_as(&blue(), "ls $M; cat $M/offered"), "offered\nstored");
    let holder = fs.spawn_python_as(
        &blue(),
        "
file = open(M + '/offered', 'rb')
print('open', flush=True)
while not os.path.exists('go'): time.sleep(0.01)
assert file.read() == b'stored' and os.fstat(file.fileno()).st_size == 6",
    );
    eventually("open", || holder.printed().contains("open"));
    fs.ask("DELETE", &format!("{members}/blue"), Value::Null);
    cannot();
    assert_eq!(
        fs.sh_as(&blue(), "ls $M $M/.by-id $M/.by-project | grep -c offered || true"),
        "0\n"
    );
    fs.sh("touch go");
    let done = holder.wait();
    assert!(done.ok(), "who has it open reads on: {done:?}");
    // The same by another program on the database.
    fs.glance_shares(&id, "blue", "accepted");
    eventually("shared", || fs.try_sh_as(&blue(), "cat $M/offered").ok());
    let now = crate::harness::glance_time();
    fs.sql(&format!("UPDATE image_members SET deleted = 1, updated_at = '{now}'"));
    eventually("taken away", || fs.sh_as(&blue(), "ls $M").is_empty());
    cannot();
}

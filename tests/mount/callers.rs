//! A mount that tells its callers apart (`[glancefs] uid_map`): who sees what, and may do what.
//!
//! What is expected is derived from Glance's documented default policy, here, and not asked of the
//! code that is tested.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::harness::{Glancefs, Running, Start, Stored, User, eventually};

/// Users and what the map says of them: project and role.
const USERS: &[(u32, &str, &str)] = &[
    (10001, "*", "admin"),
    (10002, "red", "member"),
    (10003, "red", "reader"),
    (10004, "blue", "member"),
    (10005, "blue", "reader"),
    (10006, "red", "admin"),
    (10007, "green", "member"),
    // Not in the map.
    (10009, "", ""),
];

/// Images of project red: name, visibility, what blue made of sharing it, status, hidden.
const IMAGES: &[(&str, &str, Option<&str>, &str, bool)] = &[
    ("private", "private", None, "active", false),
    ("shared", "shared", None, "active", false),
    ("pending", "shared", Some("pending"), "active", false),
    ("accepted", "shared", Some("accepted"), "active", false),
    ("rejected", "shared", Some("rejected"), "active", false),
    // Was shared once; the membership says nothing while it is private.
    ("private-again", "private", Some("accepted"), "active", false),
    ("community", "community", None, "active", false),
    ("public", "public", None, "active", false),
    ("hidden", "public", None, "active", true),
    ("deactivated", "public", None, "deactivated", false),
];

/// The text of a map with these users, but for those who are in none.
fn map(users: &[(u32, &str, &str)]) -> String {
    let mut text = "[glancefs]\nuid_map =\n".to_owned();
    for (uid, project, role) in users.iter().filter(|(_, project, _)| !project.is_empty()) {
        writeln!(text, "  {uid}:{project}:{role}").unwrap();
    }
    text
}

fn mount_with(config: &str) -> Glancefs {
    Start::default().options("allow_other").config(config).mount().open_to_all()
}

/// What Glance lets a caller do with an image of project red.
struct Rights {
    sees: bool,
    lists: bool,
    finds_by_name: bool,
    reads: bool,
    changes: bool,
}

fn rights(user: (u32, &str, &str), image: (&str, &str, Option<&str>, &str, bool)) -> Rights {
    let ((_, project, role), (_, visibility, membership, status, hidden)) = (user, image);
    let (admin, owner, mapped) = (role == "admin", project == "red", !project.is_empty());
    let member = project == "blue" && visibility == "shared" && membership.is_some();
    let for_all = matches!(visibility, "public" | "community");
    let sees = admin || owner || member || for_all;
    let accepted = member && membership == Some("accepted");
    Rights {
        sees,
        lists: !hidden && (admin || owner || accepted || visibility == "public"),
        finds_by_name: admin || owner || accepted || for_all,
        // download_image asks for the role member; who is in no map has no role that could be asked.
        reads: sees && (admin || (status == "active" && (role == "member" || !mapped))),
        changes: admin || (owner && role == "member"),
    }
}

/// What each operation is expected to answer: `0`, or an errno's name.
fn expected(user: (u32, &str, &str), image: (&str, &str, Option<&str>, &str, bool)) -> Vec<String> {
    let rights = rights(user, image);
    let mapped = !user.1.is_empty();
    let seen = |by_name: bool, outcome: &'static str| match by_name {
        true if !rights.finds_by_name => "ENOENT",
        _ if !rights.sees => "ENOENT",
        _ => outcome,
    };
    let may = |right: bool, errno: &'static str| if right { "0" } else { errno };
    let read = may(rights.reads, "EACCES");
    // Who is in no map may not even try.
    let forbidden = if mapped { "EPERM" } else { "EACCES" };
    let outcomes = [
        ("listed", if rights.lists { "0" } else { "ENOENT" }),
        ("listed-by-id", if rights.lists { "0" } else { "ENOENT" }),
        ("listed-by-project", if rights.lists { "0" } else { "ENOENT" }),
        ("stat", seen(true, "0")),
        ("stat-id", seen(false, "0")),
        ("stat-by-id", seen(false, "0")),
        ("stat-by-project", seen(true, "0")),
        ("read", seen(true, read)),
        ("read-by-id", seen(false, read)),
        ("getxattr", seen(false, "0")),
        ("access-read", seen(true, read)),
        ("access-write", seen(true, may(rights.changes, "EACCES"))),
        ("write", seen(true, "EPERM")),
        ("setxattr", seen(false, may(rights.changes, forbidden))),
        ("utime", seen(true, may(rights.changes, forbidden))),
        ("chmod", seen(true, may(rights.changes, forbidden))),
        ("rename", seen(true, may(rights.changes, "EACCES"))),
        ("unlink", seen(true, may(rights.changes, "EACCES"))),
    ];
    let (uid, name) = (user.0, image.0);
    outcomes.iter().map(|(what, outcome)| format!("{uid} {name} {what} {outcome}")).collect()
}

/// Tries everything with every image, and says what came of it.
const TRY_ALL: &str = r#"
images = [line.split() for line in sys.argv[1].splitlines()]
def said(uid, name, what, call):
    try:
        call()
        outcome = '0'
    except OSError as error:
        outcome = errno.errorcode[error.errno]
    print(uid, name, what, outcome)
def entry(directory, name):
    if name not in os.listdir(directory): raise FileNotFoundError(errno.ENOENT, name)
def read(path):
    with open(path, 'rb') as file:
        assert file.read() == b'stored'
def access(path, mode):
    if not os.access(path, mode):
        os.stat(path)
        raise PermissionError(errno.EACCES, path)
def rename(path):
    os.rename(path, path + '.renamed')
    os.rename(path + '.renamed', path)
for name, id in images:
    path, by_id, by_project = f'{M}/{name}', f'{M}/.by-id/{id}', f'{M}/.by-project/red'
    for what, call in [
        ('listed', lambda: entry(M, name)),
        ('listed-by-id', lambda: entry(f'{M}/.by-id', id)),
        ('listed-by-project', lambda: entry(by_project, name)),
        ('stat', lambda: os.stat(path)),
        ('stat-id', lambda: os.stat(f'{M}/{id}')),
        ('stat-by-id', lambda: os.stat(by_id)),
        ('stat-by-project', lambda: os.stat(f'{by_project}/{name}')),
        ('read', lambda: read(path)),
        ('read-by-id', lambda: read(by_id)),
        ('getxattr', lambda: os.getxattr(by_id, 'user.glance.owner')),
        ('access-read', lambda: access(path, os.R_OK)),
        ('access-write', lambda: access(path, os.W_OK)),
        ('write', lambda: os.close(os.open(path, os.O_WRONLY))),
        ('setxattr', lambda: os.setxattr(by_id, 'user.glance.property.tried', b'1')),
        ('utime', lambda: os.utime(path, (5, 5))),
        ('chmod', lambda: os.chmod(path, 0o600)),
        ('rename', lambda: rename(path)),
        ('unlink', lambda: os.unlink(path)),
    ]:
        said(os.getuid(), name, what, call)
"#;

/// Stores the images that are not there; returns name and id of each.
fn store(fs: &Glancefs) -> BTreeMap<&'static str, String> {
    let mut there: BTreeMap<_, _> =
        fs.records().into_iter().map(|record| (record.name.clone().unwrap(), record.id)).collect();
    let mut ids = BTreeMap::new();
    for (name, visibility, membership, status, hidden) in IMAGES.iter().copied() {
        let id = there.remove(name).unwrap_or_else(|| {
            let owner = Some("red");
            let image = Stored { name, owner, visibility, status, hidden, ..Stored::default() };
            let id = fs.glance_stores(&image);
            if let Some(membership) = membership {
                fs.glance_shares(&id, "blue", membership);
            }
            id
        });
        ids.insert(name, id);
    }
    let blue = User::new(10004);
    for id in ids.values() {
        eventually("seen", || fs.try_sh(&format!("test -e $M/.by-id/{id}")).ok());
    }
    eventually("shared", || fs.try_sh_as(&blue, "test -e $M/accepted").ok());
    ids
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn everybody_sees_and_may_do_what_glance_would_let_them() {
    let fs = mount_with(&map(USERS));
    let (mut cells, mut wrong) = (0, Vec::new());
    for user in USERS.iter().copied() {
        let ids = store(&fs);
        let images: String = ids.iter().map(|(name, id)| format!("{name} {id}\n")).collect();
        let script = TRY_ALL.replace("sys.argv[1]", &format!("'''{images}'''"));
        let printed = fs.python_as(&User::new(user.0), &script);
        let expected: Vec<String> = ids
            .keys()
            .flat_map(|name| {
                let image = IMAGES.iter().find(|image| image.0 == *name).unwrap();
                expected(user, *image)
            })
            .collect();
        let found: Vec<&str> = printed.lines().collect();
        assert_eq!(found.len(), expected.len());
        cells += expected.len();
        let differ = found.iter().zip(&expected).filter(|(found, expected)| *found != expected);
        wrong.extend(differ.map(|(found, expected)| format!("{found}, not {expected}")));
    }
    assert!(wrong.is_empty(), "{} of {cells} cells:\n{}", wrong.len(), wrong.join("\n"));
    println!("{cells} cells agree");
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn what_is_copied_in_belongs_to_the_callers_project() {
    let fs = mount_with(&map(USERS));
    for (uid, project, role) in USERS.iter().copied() {
        let done = fs.try_sh_as(&User::new(uid), &format!("echo {uid} >$M/by-{uid}"));
        let may = matches!(role, "member" | "admin");
        assert_eq!(done.ok(), may, "{uid}: {}", done.stderr);
        if !may {
            assert!(done.stderr.contains("Permission denied"), "{}", done.stderr);
            continue;
        }
        let owner = fs.image(&format!("by-{uid}")).owner;
        assert_eq!(owner.as_deref(), Some(project).filter(|project| *project != "*"), "{uid}");
        assert_eq!(fs.sh_as(&User::new(uid), &format!("cat $M/by-{uid}")), format!("{uid}\n"));
    }
    // Into the directory of a project, too, and of no other.
    fs.sh_as(&User::new(10002), "echo x >$M/.by-project/red/x; mv $M/x $M/y; rm $M/y");
    fs.refused_as(&User::new(10004), "echo x >$M/.by-project/red/x", "");
    // Who has mounted it and is in no map is the operator.
    fs.sh("echo root >$M/by-root");
    assert_eq!(fs.image("by-root").owner, None);
    assert_eq!(fs.sh("ls $M | wc -l"), "6\n");
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn owner_and_mode_tell_each_caller_what_it_may_do() {
    let fs = mount_with(&map(USERS));
    let shown = |uid: u32, name: &str| {
        fs.sh_as(&User::new(uid), &format!("stat -c '%a %u %g' $M/{name}")).trim().to_owned()
    };
    store(&fs);
    let protected = Stored { name: "protected", owner: Some("red"), ..Stored::default() };
    fs.glance_stores(&Stored { protected: true, visibility: "public", ..protected });
    eventually("seen", || fs.try_sh("test -e $M/protected").ok());
    for (uid, name, expected) in [
        (10002, "private", "640 10002 10002"),
        (10002, "public", "644 10002 10002"),
        (10002, "protected", "444 10002 10002"),
        (10003, "private", "440 0 0"),
        (10003, "public", "440 0 0"),
        (10004, "accepted", "444 0 0"),
        (10004, "public", "444 0 0"),
        (10004, "deactivated", "440 0 0"),
        (10001, "private", "640 10001 10001"),
        (10009, "public", "444 0 0"),
        (10009, "", "755 0 0"),
        (10002, "", "755 10002 10002"),
    ] {
        assert_eq!(shown(uid, name), expected, "{uid} {name}");
    }
    // However often others look meanwhile.
    fs.sh_as(&User::new(10002), "touch going; (while test -e going; do ls -l $M; done) >list &");
    for _ in 0..50 {
        assert_eq!(shown(10004, "public"), "444 0 0");
    }
    fs.sh("rm going");
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn a_group_counts_whether_it_is_the_primary_one_or_not() {
    let fs = mount_with(
        "[glancefs]\nuid_map = 10001:blue:member, @20001:red:member, @20002:*:admin, 10002:blue:member\n",
    );
    for (name, owner) in [("red", "red"), ("blue", "blue"), ("green", "green")] {
        let owner = Some(owner);
        fs.glance_stores(&Stored { name, owner, visibility: "private", ..Stored::default() });
    }
    eventually("seen", || fs.sh("ls $M") == "blue\ngreen\nred\n");
    let sees = |user: User| fs.sh_as(&user, "ls $M").replace('\n', " ");
    assert_eq!(sees(User::new(10005)), "");
    assert_eq!(sees(User::new(10005).in_groups(&[20001])), "red ");
    assert_eq!(sees(User { uid: 10005, gid: 20001, groups: vec![] }), "red ");
    assert_eq!(sees(User::new(10005).in_groups(&[5, 20002, 7])), "blue green red ");
    assert_eq!(sees(User::new(10005).in_groups(&[20002, 20001])), "red ", "the first entry counts");
    assert_eq!(sees(User::new(10001).in_groups(&[20002])), "blue ", "the first entry counts");
    assert_eq!(sees(User::new(10002).in_groups(&[20001])), "red ", "the first entry counts");
    assert_eq!(sees(User::new(10002)), "blue ");
    // A group that a process gives up is given up.
    let root = "os.setgroups([20001]); os.setresgid(9, 9, 9); os.seteuid(10005)
print(os.listdir(M))
os.seteuid(0); os.setgroups([]); os.seteuid(10005)
print(os.listdir(M))";
    assert_eq!(fs.python(root).replace(['.', '-', ' '], ""), "['red']\n[]\n");
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn who_is_in_no_map_sees_what_is_for_everybody_or_nothing() {
    let mut fs = mount_with(&map(USERS));
    store(&fs);
    let stranger = User::new(10009);
    assert_eq!(fs.sh_as(&stranger, "ls $M; cat $M/community"), "deactivated\npublic\nstored");
    fs.refused_as(&stranger, "touch $M/new", "Permission denied");
    fs.refused_as(&stranger, "ls $M/.by-project/blue", "No such file");
    assert_eq!(fs.sh_as(&stranger, "ls $M/.by-project; ls $M/.by-id | wc -l"), "red\n2\n");
    fs.restart_configured(&(map(USERS) + "unmapped = deny\n"));
    for script in ["ls $M", "stat $M", "cat $M/public", "stat -f $M", "touch $M/new"] {
        fs.refused_as(&stranger, script, "Permission denied");
    }
    fs.refused_as(&stranger, "cd $M", "can't cd");
    // A file that it is handed it may read to its end, and closing it is no mistake.
    fs.sh("cat $M/public >seen; chmod 666 seen");
    let handed = "setpriv --reuid=10009 --regid=10009 --clear-groups";
    assert_eq!(fs.sh(&format!("{handed} head -c 6 <$M/public")), "stored");
    fs.sh(&format!("{handed} head -c 100 </dev/zero >$M/written; stat -c %s $M/written"));
    assert_eq!(fs.image("written").size, Some(100));
    fs.sh_as(&User::new(10004), "ls $M; cat $M/public");
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn a_mount_acts_as_the_project_and_roles_that_are_configured() {
    let mut fs = Start::default().config("[glancefs]\nmount_project = red\n").mount();
    store_one(&fs);
    fs.sh("echo a >$M/a; cat $M/private");
    assert_eq!(fs.image("a").owner.as_deref(), Some("red"));
    fs.restart_configured("[glancefs]\nmount_project = red\nmount_roles = reader\n");
    assert_eq!(fs.sh("ls $M"), "a\nprivate\n");
    fs.refused("cat $M/private", "Permission denied");
    fs.refused("echo b >$M/b", "Permission denied");
    fs.refused("rm -f $M/a", "Permission denied");
    fs.restart_configured("[glancefs]\nmount_project = blue\nmount_roles = member, admin\n");
    fs.sh("cat $M/private; echo b >$M/b");
    assert_eq!(fs.image("b").owner.as_deref(), Some("blue"));
}

fn store_one(fs: &Glancefs) {
    let image = Stored { name: "private", visibility: "private", ..Stored::default() };
    fs.glance_stores(&Stored { owner: Some("red"), ..image });
    eventually("seen", || fs.try_sh("test -e $M/private").ok());
}

#[test]
fn a_map_that_makes_no_sense_is_refused_with_the_entry_and_the_reason() {
    for (text, said) in [
        ("uid_map = no-such-user:red:member", "there is no user no-such-user"),
        ("uid_map = 1:red:member,\n  @no-such-group:red:member", "there is no group no-such-group"),
        ("uid_map = 1:red", "write user:project:roles"),
        ("uid_map = 1:*:member", "only the role admin"),
        ("uid_map = 1:red:member\nunmapped = perhaps", "public or deny"),
        ("mount_roles = reader", "set mount_project"),
    ] {
        let fs = Start::default().options("allow_other").config(&format!("[glancefs]\n{text}\n"));
        let fs = fs.prepare();
        let done = Running::start(&mut fs.command()).wait();
        assert_eq!(done.status.code(), Some(1), "{text}");
        assert!(done.stderr.contains(said), "{text}: {}", done.stderr);
        assert!(done.stderr.contains("glance-api.conf:"), "{}", done.stderr);
        assert!(!fs.is_mounted());
    }
}

#[test]
#[ignore = "acts as other users, which takes root"]
fn who_may_publish_and_who_may_replace_is_what_glance_lets_them() {
    let fs = Start::default().options("allow_other,chmod,replace").config(&map(USERS)).mount();
    let fs = fs.open_to_all();
    let (red, blue, admin) = (User::new(10002), User::new(10004), User::new(10001));
    let visibility = || fs.image("i").visibility;
    let publish = "setfattr -n user.glance.visibility -v";
    fs.sh_as(&red, "echo red >$M/i");
    // publicize_image is for administrators alone, communitize_image for the owner, too.
    fs.refused_as(&red, "chmod o+r $M/i", "Permission denied");
    fs.refused_as(&red, &format!("{publish} public $M/i"), "not permitted");
    fs.sh_as(&red, &format!("{publish} community $M/i"));
    assert_eq!(visibility(), "community");
    for script in ["chmod o-r $M/i", &format!("{publish} private $M/i")] {
        fs.refused_as(&blue, script, "not permitted");
    }
    fs.sh_as(&admin, "chmod o-r $M/i; chmod o+r $M/i");
    assert_eq!(visibility(), "public");
    // Who may not delete an image does not replace it, by writing or by renaming.
    let id = fs.image("i").id;
    fs.sh_as(&blue, "echo blue >$M/j");
    fs.refused_as(&blue, "echo blue >$M/i", "Permission denied");
    fs.refused_as(&blue, "mv -f $M/j $M/i", "Permission denied");
    fs.refused_as(&User::new(10009), "echo nobody >$M/i", "Permission denied");
    assert_eq!((fs.image("i").id, fs.image("j").owner), (id.clone(), Some("blue".into())));
    fs.sh_as(&red, "echo again >$M/i; cat $M/i");
    assert_ne!(fs.image("i").id, id);
    assert_eq!(fs.records().len(), 2);
}

//! Other programs on the same database, and what a project's mount sees.

use crate::harness::{Glancefs, Start, Stored, eventually};

#[test]
fn what_others_change_is_seen() {
    let fs = Glancefs::mount();
    assert_eq!(fs.sh("ls $M"), "");
    let id = fs.glance_stores(&Stored { name: "theirs", ..Stored::default() });
    eventually("a new image", || fs.sh("ls $M") == "theirs\n");
    assert_eq!(fs.sh("cat $M/theirs"), "stored");
    fs.glance_sets(&id, "name = 'renamed', visibility = 'public'");
    eventually("a new name", || fs.sh("ls $M") == "renamed\n");
    fs.refused("cat $M/theirs", "No such file");
    assert_eq!(fs.sh("stat -c %a $M/renamed"), "644\n");
    fs.glance_sets(&id, "deleted = 1, status = 'deleted'");
    eventually("gone", || fs.sh("ls $M").is_empty());
    fs.refused("cat $M/renamed", "No such file");
}

#[test]
fn a_change_is_seen_by_a_program_that_polls_with_stat() {
    let fs = Glancefs::mount();
    let waiter = fs.spawn("until test -e $M/new; do sleep 0.05; done; cat $M/new");
    fs.sh("sleep 0.2");
    fs.glance_stores(&Stored { name: "new", ..Stored::default() });
    assert_eq!(waiter.wait().stdout, "stored");
}

#[test]
fn images_without_data_are_not_shown() {
    let fs = Glancefs::mount();
    let states = ["queued", "saving", "uploading", "importing", "killed", "pending_delete"];
    for status in states {
        fs.glance_stores(&Stored { name: status, status, ..Stored::default() });
    }
    let last = fs.glance_stores(&Stored { name: "last", status: "saving", ..Stored::default() });
    fs.glance_sets(&last, "status = 'active'");
    eventually("the last is seen", || fs.try_sh("test -e $M/last").ok());
    assert_eq!(fs.sh("ls $M"), "last\n");
    assert_eq!(fs.sh("ls $M/.by-id | wc -l").trim(), "1");
    for status in states {
        assert!(!fs.try_sh(&format!("test -e $M/{status}")).ok(), "{status}");
    }
}

#[test]
fn a_project_sees_its_own_images_and_those_of_everybody() {
    let fs = Start::default().project("red").mount();
    for (name, owner, visibility) in [
        ("red-private", "red", "private"),
        ("red-shared", "red", "shared"),
        ("red-community", "red", "community"),
        ("blue-private", "blue", "private"),
        ("blue-shared", "blue", "shared"),
        ("blue-member", "blue", "shared"),
        ("blue-pending", "blue", "shared"),
        ("blue-community", "blue", "community"),
        ("blue-public", "blue", "public"),
    ] {
        let owner = Some(owner);
        let id = fs.glance_stores(&Stored { name, owner, visibility, ..Stored::default() });
        let status = match name {
            "blue-member" => "accepted",
            "blue-pending" => "pending",
            _ => continue,
        };
        let now = crate::harness::glance_time();
        fs.sql(&format!(
            "INSERT INTO image_members (image_id, member, can_share, created_at, updated_at, \
             deleted, status) VALUES ('{id}', 'red', 0, '{now}', '{now}', 0, '{status}')"
        ));
        fs.glance_sets(&id, "min_disk = 0");
    }
    let expected = "blue-member\nblue-public\nred-community\nred-private\nred-shared\n";
    eventually("listed", || fs.sh("ls $M") == expected);
    // Found by those who know of it, but not listed: somebody else's community image.
    assert_eq!(fs.sh("cat $M/blue-community"), "stored");
    for name in ["blue-private", "blue-shared"] {
        assert!(!fs.try_sh(&format!("cat $M/{name}")).ok(), "{name}");
        let id = fs.image(name).id;
        assert!(!fs.try_sh(&format!("cat $M/.by-id/{id}")).ok(), "{name} by id");
        assert!(!fs.try_sh(&format!("cat $M/{id}")).ok(), "{name} by id");
    }
    fs.sh("echo mine >$M/mine");
    assert_eq!(fs.image("mine").owner.as_deref(), Some("red"));
}

#[test]
fn a_project_may_not_change_what_is_not_its_own() {
    let fs = Start::default().project("red").mount();
    let image =
        Stored { name: "p", owner: Some("blue"), visibility: "public", ..Stored::default() };
    fs.glance_stores(&image);
    eventually("seen", || fs.try_sh("test -e $M/p").ok());
    fs.refused("rm -f $M/p", "Permission denied");
    fs.refused("mv $M/p $M/q", "Permission denied");
    fs.refused("echo x >$M/.by-project/blue/x", "");
    assert!(!fs.try_sh("setfattr -n user.glance.min_ram -v 9 $M/p").ok());
    assert_eq!(fs.sh("cat $M/p"), "stored");
}

#[test]
fn a_record_deleted_by_another_while_it_is_written_gives_an_error() {
    let fs = Glancefs::mount();
    let writer = fs.spawn_python(
        "
f = os.open(M + '/f', os.O_WRONLY | os.O_CREAT)
os.write(f, b'x' * 1000)
print('half', flush=True)
while not os.path.exists('go'): time.sleep(0.01)
try: os.close(f); sys.exit('closed well')
except OSError as e: assert e.errno == errno.EIO, e
",
    );
    eventually("half is written", || writer.printed().contains("half"));
    let id = fs.image("f").id;
    fs.glance_sets(&id, "deleted = 1, status = 'deleted'");
    fs.sh("touch go");
    let done = writer.wait();
    assert!(done.ok(), "{done:?}");
    fs.assert_only(&[]);
}

#[test]
fn changes_under_way_everywhere_end_up_right() {
    let fs = Glancefs::mount();
    let writers: Vec<_> = (0..4)
        .map(|n| {
            fs.spawn(&format!(
                "for k in $(seq 15); do echo $k >$M/w{n}-$k; mv $M/w{n}-$k $M/m{n}-$k
                 test $((k % 3)) != 0 || rm $M/m{n}-$k; ls $M >/dev/null; done"
            ))
        })
        .collect();
    for n in 0..10 {
        let name = format!("theirs{n}");
        fs.glance_stores(&Stored { name: &name, ..Stored::default() });
    }
    for writer in writers {
        let done = writer.wait();
        assert!(done.ok(), "{done:?}");
    }
    assert_eq!(fs.records().len(), 50);
    eventually("all are listed", || fs.sh("ls $M | wc -l").trim() == "50");
    let mut names: Vec<_> = fs.records().into_iter().map(|record| record.name.unwrap()).collect();
    names.sort();
    assert_eq!(fs.sh("LC_ALL=C ls $M"), names.join("\n") + "\n");
}

//! Names: any text is an image's name, and every image has a file name of its own.

use crate::harness::{Glancefs, Stored, eventually};

/// The names in the mount, as Python sees them.
fn listed(fs: &Glancefs) -> Vec<String> {
    let names = fs.python("for n in sorted(os.listdir(M)): print(n.encode().hex())");
    let decode = |line: &str| {
        let digit = |at| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
        String::from_utf8((0..line.len()).step_by(2).map(digit).collect()).unwrap()
    };
    names.lines().map(decode).collect()
}

#[test]
fn any_text_is_a_name() {
    let fs = Glancefs::mount();
    let long = "l".repeat(255);
    let wide = "ü".repeat(127);
    let names = ["new\nline", " blank ", "quote'\"$(x)", "-rf", "~", "*", "𝔘😀", &long, &wide];
    let hex = |name: &&str| name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let all = names.iter().map(hex).collect::<Vec<_>>().join(" ");
    fs.python(&format!(
        "for name in '{all}'.split(): open(M.encode() + b'/' + bytes.fromhex(name), 'w').write('x')"
    ));
    for name in names {
        fs.image(name);
    }
    let mut sorted: Vec<_> = names.iter().map(ToString::to_string).collect();
    sorted.sort();
    assert_eq!(listed(&fs), sorted);
    fs.sh("cd $M; for f in *; do test x = \"$(cat ./\"$f\")\"; done; rm -- *");
    fs.assert_only(&[]);
}

#[test]
fn what_a_file_cannot_be_called_is_escaped() {
    let fs = Glancefs::mount();
    fs.sh("echo 1 >$M/a%2Fb; echo 2 >$M/50%; echo 3 >$M/50%25; echo 4 >$M/%zz");
    // As it was typed, it is found; a listing shows it in the one way that is never ambiguous.
    for name in ["a/b", "50%", "50%25", "%zz"] {
        fs.image(name);
    }
    assert_eq!(listed(&fs), ["%zz", "50%", "50%2525", "a%2Fb"]);
    assert_eq!(fs.sh("cat $M/a%2Fb $M/50%25 $M/50%2525 $M/50% $M/%zz"), "1\n3\n3\n2\n4\n");
    fs.sh("rm $M/50%25");
    assert_eq!(listed(&fs), ["%zz", "50%", "a%2Fb"]);
}

#[test]
fn images_that_cannot_show_their_name_show_their_id() {
    let fs = Glancefs::mount();
    let stored = |name| fs.glance_stores(&Stored { name, ..Stored::default() });
    let mut expected = vec![stored("."), stored(".."), stored("")];
    let slash = stored("dir/x");
    eventually("all are seen", || listed(&fs).len() == 4);
    expected.push("dir%2Fx".to_string());
    expected.sort();
    assert_eq!(listed(&fs), expected);
    assert_eq!(fs.sh("cat $M/dir%2Fx"), "stored");
    assert_eq!(fs.sh(&format!("stat -c %i $M/{slash}")), fs.sh("stat -c %i $M/dir%2Fx"));
    assert_eq!(fs.sh("ls -d $M/. $M/..").lines().count(), 2);
}

#[test]
fn a_name_that_is_not_utf_8_is_refused() {
    let fs = Glancefs::mount();
    fs.python(
        "
try: open(M.encode() + b'/\\xff\\xfe', 'w'); sys.exit('made')
except OSError as e: assert e.errno == errno.EILSEQ, e
open(M + '/ok', 'w').close()
try: os.rename(M + '/ok', M.encode().decode() + '/\\udcff'); sys.exit('renamed')
except OSError as e: assert e.errno == errno.EILSEQ, e
assert not os.path.exists(M.encode() + b'/\\xff')
try: open(M + '/' + 'x' * 256, 'w'); sys.exit('made')
except OSError as e: assert e.errno == errno.ENAMETOOLONG, e
",
    );
    fs.assert_only(&["ok"]);
}

#[test]
fn images_of_one_name_are_told_apart() {
    let fs = Glancefs::mount();
    fs.sh("echo old >$M/x");
    let new = fs.glance_stores(&Stored { name: "x", data: b"new\n", ..Stored::default() });
    let later = format!("x~{}", &new[..8]);
    eventually("both are seen", || listed(&fs) == ["x".to_string(), later.clone()]);
    assert_eq!(fs.sh(&format!("cat $M/x $M/{later}")), "old\nnew\n");
    fs.sh("rm $M/x");
    assert_eq!(listed(&fs), ["x"]);
    assert_eq!(fs.sh("cat $M/x"), "new\n");
    assert!(!fs.try_sh(&format!("test -e $M/{later}")).ok());
}

#[test]
fn every_image_is_found_by_its_id() {
    let fs = Glancefs::mount();
    fs.sh("echo a >$M/a; echo b >$M/b");
    let (a, b) = (fs.image("a").id, fs.image("b").id);
    assert_eq!(fs.sh(&format!("cat $M/{a} $M/.by-id/{b}")), "a\nb\n");
    let mut ids = [a.clone(), b.clone()];
    ids.sort();
    assert_eq!(fs.sh("ls $M/.by-id"), format!("{}\n{}\n", ids[0], ids[1]));
    assert_eq!(fs.sh("ls $M"), "a\nb\n", "not listed");
    assert_eq!(fs.sh(&format!("stat -c %i $M/a $M/.by-id/{a} | uniq | wc -l")).trim(), "1");
    fs.refused("echo x >$M/.by-id/new", "not permitted");
    fs.sh(&format!("rm $M/.by-id/{a}; rm $M/{b}"));
    assert_eq!(fs.sh("ls $M; ls $M/.by-id"), "");
    fs.refused("ls $M/00000000-0000-4000-8000-000000000000", "No such file");
}

#[test]
fn a_project_has_a_directory_of_its_images() {
    let fs = Glancefs::mount();
    for (name, owner) in [("one", "red"), ("two", "blue"), ("two", "red"), ("q", "a/b")] {
        fs.glance_stores(&Stored { name, owner: Some(owner), ..Stored::default() });
    }
    fs.sh("echo mine >$M/nobodys");
    eventually("all are seen", || fs.sh("ls $M/.by-project").lines().count() == 3);
    assert_eq!(fs.sh("ls $M/.by-project"), "a%2Fb\nblue\nred\n");
    assert_eq!(fs.sh("ls $M/.by-project/red"), "one\ntwo\n");
    assert_eq!(fs.sh("ls $M/.by-project/a%2Fb"), "q\n");
    assert_eq!(fs.sh("cat $M/.by-project/blue/two"), "stored");
    // The operator adds for a project what is copied there.
    fs.sh("echo for red >$M/.by-project/red/three");
    assert_eq!(fs.image("three").owner.as_deref(), Some("red"));
    assert_eq!(fs.sh("ls $M/.by-project/red; cat $M/three"), "one\nthree\ntwo\nfor red\n");
    fs.sh("rm $M/.by-project/red/two");
    assert_eq!(
        fs.sh("ls $M/.by-project/red $M/.by-project/blue | sort | xargs -n9")
            .matches("two")
            .count(),
        1
    );
    fs.refused("ls $M/.by-project/none", "No such file");
    fs.refused("echo x >$M/.by-project/x", "not permitted");
}

#[test]
fn hidden_images_are_found_but_not_listed() {
    let fs = Glancefs::mount();
    let hidden = Stored { name: "hidden", hidden: true, ..Stored::default() };
    let id = fs.glance_stores(&hidden);
    eventually("seen", || fs.try_sh("test -e $M/hidden").ok());
    assert_eq!(fs.sh("ls -A $M $M/.by-id | grep -c hidden || true"), "0\n");
    assert_eq!(fs.sh(&format!("cat $M/hidden $M/.by-id/{id}")), "storedstored");
}

#[test]
fn the_directories_of_the_mount_cannot_be_taken_or_removed() {
    let fs = Glancefs::mount();
    fs.sh("echo a >$M/a");
    for script in
        ["rmdir $M/.by-id", "rm -r $M/.by-project", "mv $M/.by-id $M/x", "echo x >$M/.by-id"]
    {
        assert!(!fs.try_sh(script).ok(), "{script}");
    }
    assert!(!fs.try_sh("mv -T $M/a $M/.by-id").ok());
    fs.sh("ls $M/.by-id $M/.by-project >/dev/null; cat $M/a");
    fs.assert_only(&["a"]);
}

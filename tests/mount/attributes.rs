//! What `stat` and `getfattr` show, and what changing it does.

use crate::harness::{Glancefs, Start, Stored, eventually};

/// The mode, owner and group that the mount shows for a name.
fn shown(fs: &Glancefs, name: &str) -> String {
    fs.sh(&format!("stat -c '%a %u %g' $M/{name}")).trim().to_string()
}

/// Who runs the tests, as `shown` puts it.
fn me(fs: &Glancefs) -> String {
    fs.sh("echo $(id -u) $(id -g)").trim().to_string()
}

#[test]
fn modes_show_visibility_and_protection() {
    let fs = Glancefs::mount();
    let all = [
        ("private", false, "640"),
        ("shared", false, "640"),
        ("community", false, "644"),
        ("public", false, "644"),
        ("shared", true, "440"),
        ("public", true, "444"),
    ];
    for (visibility, protected, mode) in all {
        let name = format!("{visibility}-{mode}");
        fs.glance_stores(&Stored { name: &name, visibility, protected, ..Stored::default() });
        eventually("seen", || fs.try_sh(&format!("test -e $M/{name}")).ok());
        assert_eq!(shown(&fs, &name), format!("{mode} {}", me(&fs)), "{name}");
    }
    assert_eq!(shown(&fs, "."), format!("755 {}", me(&fs)));
}

#[test]
fn owner_group_and_umask_are_those_of_the_options() {
    let fs = Start::default().options("uid=1234,gid=5678,umask=027").mount();
    fs.sh("echo a >$M/a");
    fs.glance_stores(&Stored { name: "public", visibility: "public", ..Stored::default() });
    eventually("seen", || fs.try_sh("test -e $M/public").ok());
    assert_eq!(shown(&fs, "a"), "640 1234 5678");
    assert_eq!(shown(&fs, "public"), "640 1234 5678");
    assert_eq!(shown(&fs, "."), "750 1234 5678");
}

#[test]
fn chmod_and_chown_succeed_and_change_nothing() {
    let fs = Glancefs::mount();
    fs.sh(
        "echo a >$M/a; chmod 644 $M/a; chmod a+rwx $M/a; chown $(id -u):$(id -g) $M/a; chmod 0 $M",
    );
    assert_eq!(shown(&fs, "a"), format!("640 {}", me(&fs)));
    let image = fs.image("a");
    assert_eq!((image.visibility.as_str(), image.protected), ("shared", false));
}

#[test]
fn with_the_option_chmod_publishes_and_protects() {
    let fs = Start::default().options("chmod").mount();
    let state = || {
        let image = fs.image("a");
        (image.visibility, image.protected, shown(&fs, "a"))
    };
    let expect = |visibility: &str, protected, mode: &str| {
        assert_eq!(state(), (visibility.to_string(), protected, format!("{mode} {}", me(&fs))));
    };
    fs.sh("echo a >$M/a");
    expect("shared", false, "640");
    fs.sh("chmod u+x,g+w $M/a");
    expect("shared", false, "640");
    fs.sh("chmod o+r $M/a");
    expect("public", false, "644");
    fs.sh("chmod u-w $M/a");
    expect("public", true, "444");
    fs.refused("rm -f $M/a", "Operation not permitted");
    fs.sh("chmod o-r $M/a");
    expect("private", true, "440");
    fs.sh("chmod u+w $M/a");
    expect("private", false, "640");
    fs.sh("rm $M/a");
    fs.assert_only(&[]);
}

#[test]
fn a_protected_image_cannot_be_removed() {
    let fs = Glancefs::mount();
    fs.glance_stores(&Stored { name: "p", protected: true, ..Stored::default() });
    eventually("seen", || fs.try_sh("test -e $M/p").ok());
    fs.refused("rm -f $M/p", "Operation not permitted");
    assert_eq!(fs.sh("cat $M/p"), "stored");
    fs.sh("setfattr -n user.glance.protected -v false $M/p; rm $M/p");
    fs.assert_only(&[]);
}

#[test]
fn times_are_those_of_the_record_until_somebody_sets_one() {
    let mut fs = Glancefs::mount();
    let id = fs.glance_stores(&Stored { name: "a", ..Stored::default() });
    fs.glance_sets(&id, "created_at = '2020-01-02 03:04:05.000006'");
    eventually("seen", || fs.sh("stat -c %Y $M/a 2>/dev/null || true") == "1577934245\n");
    fs.sh("touch -d '1999-12-31 23:59:58.987654321Z' $M/a");
    let time = "TZ=UTC stat -c %y $M/a";
    assert_eq!(fs.sh(time), "1999-12-31 23:59:58.987654321 +0000\n");
    fs.restart();
    assert_eq!(fs.sh(time), "1999-12-31 23:59:58.987654321 +0000\n", "kept");
    fs.sh("touch now; touch $M/a; test ! $M/a -ot now");
    // Nobody sees a change of the record as a change of the data.
    let before = fs.sh("stat -c %Y $M/a");
    fs.glance_sets(&id, "min_disk = 3");
    assert_eq!(fs.sh("sleep 0.4; stat -c %Y $M/a"), before);
}

#[test]
fn fields_and_properties_are_extended_attributes() {
    let fs = Glancefs::mount();
    fs.noise("seed", 1000);
    fs.sh("cp seed $M/a");
    let image = fs.assert_same("a", "seed", "raw");
    let get = |name: &str| fs.sh(&format!("getfattr --only-values -n user.glance.{name} $M/a"));
    assert_eq!(get("id"), image.id);
    assert_eq!(get("status"), "active");
    assert_eq!(get("disk_format"), "raw");
    assert_eq!(get("container_format"), "bare");
    assert_eq!(Some(get("checksum")), image.checksum);
    assert_eq!(get("os_hash_algo"), "sha512");
    assert_eq!(Some(get("os_hash_value")), image.os_hash_value);
    assert_eq!(get("min_disk"), "0");
    assert_eq!(get("visibility"), "shared");
    assert_eq!(get("protected").to_lowercase(), "false");
    let all = fs.sh("getfattr -d $M/a");
    assert!(all.contains("user.glance.id=") && all.contains("user.glance.size"), "{all}");
    fs.refused("getfattr -n user.glance.nothing $M/a", "No such attribute");
    fs.refused("getfattr -n user.other $M/a", "No such attribute");
}

#[test]
fn what_the_api_may_patch_setfattr_may_set() {
    let fs = Glancefs::mount();
    fs.sh("echo a >$M/a");
    let set = |name: &str, value: &str| {
        fs.sh(&format!("setfattr -n user.glance.{name} -v '{value}' $M/a"));
    };
    set("visibility", "public");
    set("min_ram", "512");
    set("property.os_distro", "debian");
    set("property.empty", "");
    set("protected", "true");
    let image = fs.image("a");
    assert_eq!((image.visibility.as_str(), image.protected), ("public", true));
    assert_eq!(image.properties["os_distro"], "debian");
    assert_eq!(image.properties["empty"], "");
    assert_eq!(fs.sh("stat -c %a $M/a"), "444\n");
    assert_eq!(fs.sh("getfattr --only-values -n user.glance.property.os_distro $M/a"), "debian");
    fs.sh("setfattr -x user.glance.property.os_distro $M/a");
    assert!(!fs.image("a").properties.contains_key("os_distro"));
    fs.refused("setfattr -x user.glance.property.os_distro $M/a", "No such attribute");
    for (name, value) in [("id", "x"), ("checksum", "0"), ("status", "queued"), ("size", "1")] {
        let script = format!("setfattr -n user.glance.{name} -v {value} $M/a");
        fs.refused(&script, "Operation not permitted");
    }
    fs.refused("setfattr -x user.glance.id $M/a", "Operation not permitted");
    fs.refused("setfattr -n user.glance.visibility -v nonsense $M/a", "Invalid argument");
    fs.refused("setfattr -n user.other -v 1 $M/a", "not supported");
    assert_eq!(fs.image("a").visibility, "public");
}

#[test]
fn attributes_of_a_file_being_written_go_into_its_image() {
    let fs = Glancefs::mount();
    fs.python(
        "
f = os.open(M + '/a', os.O_WRONLY | os.O_CREAT)
os.write(f, b'data')
os.setxattr(M + '/a', 'user.glance.property.os_distro', b'debian')
assert os.getxattr(M + '/a', 'user.glance.property.os_distro') == b'debian'
os.fchmod(f, 0o644)
os.utime(f, (1, 1000000000.5))
os.close(f)
",
    );
    let image = fs.image("a");
    assert_eq!(image.properties["os_distro"], "debian");
    assert_eq!(image.visibility, "shared");
    assert_eq!(fs.sh("stat -c %Y $M/a"), "1000000000\n");
}

#[test]
fn posix_acls_are_not_supported_so_that_cp_does_not_mind() {
    let fs = Glancefs::mount();
    fs.sh("echo a >$M/a");
    fs.python(
        "
acl = bytes.fromhex('0200000001000600ffffffff04000400ffffffff20000000ffffffff')
def unsupported(call, *arguments):
    try: call(*arguments); sys.exit('done')
    except OSError as e: assert e.errno == errno.EOPNOTSUPP, e
unsupported(os.setxattr, M + '/a', 'system.posix_acl_access', acl)
unsupported(os.getxattr, M + '/a', 'system.posix_acl_access')
unsupported(os.setxattr, M, 'system.posix_acl_default', acl)
f = os.open(M + '/new', os.O_WRONLY | os.O_CREAT)
unsupported(os.setxattr, f, 'system.posix_acl_access', acl)
os.close(f)
",
    );
    fs.sh("cp -a $M/a $M/b; cp --preserve=all $M/a $M/c; cp --preserve=all $M/a out");
    assert_eq!(fs.sh("cat $M/b $M/c out"), "a\na\na\n");
}

#[test]
fn a_copy_with_its_attributes_keeps_its_own_name() {
    let fs = Glancefs::mount();
    fs.sh("echo a >$M/a; setfattr -n user.glance.property.os_distro -v debian $M/a
           cp -a $M/a $M/b; cp -a $M/a saved; cp -a saved $M/c");
    for name in ["b", "c"] {
        let copy = fs.image(name);
        assert_eq!(copy.properties["os_distro"], "debian");
    }
    fs.refused("setfattr -n user.glance.name -v x $M/a", "Operation not permitted");
    fs.assert_only(&["a", "b", "c"]);
}

#[test]
#[ignore = "acts as another user, which takes root"]
fn other_users_get_in_only_with_the_option_and_as_far_as_modes_let_them() {
    let mut fs = Glancefs::mount();
    fs.sh("chmod 755 ..; echo private >$M/private; echo public >$M/public
           setfattr -n user.glance.visibility -v public $M/public");
    let other = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    fs.refused(&format!("{other} ls $M"), "Permission denied");
    fs.restart_with(Start::default().options("allow_other"));
    assert_eq!(
        fs.sh(&format!("{other} ls $M; {other} cat $M/public")),
        "private\npublic\npublic\n"
    );
    fs.refused(&format!("{other} cat $M/private"), "Permission denied");
    fs.refused(&format!("{other} rm -f $M/public"), "Permission denied");
    fs.refused(&format!("{other} touch $M/new"), "Permission denied");
}

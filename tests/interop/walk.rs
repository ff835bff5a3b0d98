//! The first of the published instructions, "Glance on Ceph" of 2015, command by command, with glancefs
//! in the place of glance-api; what its author did with `keystone` before that is done with `openstack`.
//!
//! The configuration files are used as they were printed, with only the addresses of this machine put in by
//! sed.  What else differs is marked "Instead" here, and is what glancefs-migrate(7) lists.

use std::path::Path;
use std::thread;

use serde_json::Value;

use crate::haproxy::{Haproxy, LISTENER, SERVER};
use crate::harness::mariadb::Server;
use crate::harness::rabbitmq::RabbitMq;
use crate::harness::{Cluster, Glancefs, Keystone, Running, Start};
use crate::program;

const PRINTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/write-ups");

/// What its author had before the first command.
struct Site {
    ceph: Cluster,
    mariadb: Server,
    keystone: Keystone,
    rabbit: RabbitMq,
    /// The controller: not started yet, its configuration is still to be written.
    controller: Glancefs,
}

impl Site {
    fn new() -> Self {
        let (ceph, mariadb, keystone, rabbit) = thread::scope(|scope| {
            let ceph = scope.spawn(|| Cluster::start("memstore"));
            let mariadb = scope.spawn(|| Server::start(&[]));
            let rabbit = scope.spawn(RabbitMq::as_installed);
            let keystone = Keystone::start();
            (ceph.join().unwrap(), mariadb.join().unwrap(), keystone, rabbit.join().unwrap())
        });
        ceph.run("ceph", &["osd", "pool", "create", "datastore", "16"]);
        // Other tests' users, which are in the way of those that are made here.
        mariadb.run("DROP USER glance@'127.0.0.1'");
        forget_glance(&keystone);
        let controller = Start::default().config("").with_api().prepare();
        Self { ceph, mariadb, keystone, rabbit, controller }
    }

    /// Runs commands at the controller, as the administrator whose `openrc` was sourced.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let mut command = self.controller.script(script);
        let programs = [
            Path::new(env!("CARGO_BIN_EXE_glancefs")).parent().unwrap().to_path_buf(),
            program("GLANCEFS_TEST_GLANCECLIENT", ""),
            program("GLANCEFS_TEST_OPENSTACK", ""),
        ];
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths(programs.into_iter().chain(std::env::split_paths(&path)));
        command
            .env("PATH", path.unwrap())
            .env("HOME", self.controller.scratch())
            .env("PRINTED", PRINTED)
            .env("CEPH", self.ceph.directory())
            .env("MARIADB", self.mariadb.port().to_string())
            .env("RABBIT", self.rabbit.port().to_string())
            .env("KEYSTONE", self.keystone.url().rsplit(':').next().unwrap())
            .env("OS_AUTH_URL", format!("{}/v3", self.keystone.url()))
            .env("OS_IDENTITY_API_VERSION", "3")
            .envs([("OS_USERNAME", "admin"), ("OS_PASSWORD", "secret-of-admin")])
            .envs([("OS_PROJECT_NAME", "admin"), ("OS_PROJECT_DOMAIN_NAME", "Default")])
            .env("OS_USER_DOMAIN_NAME", "Default");
        let done = Running::start(&mut command).wait();
        assert!(done.ok(), "{script}\n{}: {}{}", done.status, done.stdout, done.stderr);
        done.stdout
    }
}

/// Takes the image service and its user out of Keystone.
fn forget_glance(keystone: &Keystone) {
    let limits = keystone.ask("GET", "registered_limits", &Value::Null);
    for limit in limits["registered_limits"].as_array().unwrap() {
        let path = format!("registered_limits/{}", limit["id"].as_str().unwrap());
        keystone.ask("DELETE", &path, &Value::Null);
    }
    for kind in ["service", "user"] {
        let path = format!("{kind}s/{}", keystone.id(kind, "glance"));
        keystone.ask("DELETE", &path, &Value::Null);
    }
}

#[test]
#[ignore = "needs MariaDB, Keystone, Ceph and their real clients"]
fn the_first_instructions_work_with_glancefs_in_glances_place() {
    let mut site = Site::new();
    make_the_user_of_ceph(&site);
    write_the_configuration(&mut site);
    make_the_database(&site);
    make_the_user_and_the_endpoint(&site);

    // `service glance-api restart`; instead of `service glance-registry restart`: nothing.
    site.controller.start_again();
    let haproxy = Haproxy::start(&[("zeus", site.controller.api.unwrap())], LISTENER, SERVER);
    site.keystone.images_are_at(haproxy.address);
    let log = site.controller.log();
    assert!(log.contains("no glance-registry is asked: [DEFAULT] registry_host"), "{log}");

    add_an_image(&site);
    see_that_it_is_there(&site);
    see_what_the_bus_was_told(&site);
    strangers_are_sent_away(&site);
}

fn make_the_user_of_ceph(site: &Site) {
    site.sh("ceph --conf $CEPH/ceph.conf auth get-or-create client.olimpo mon 'allow r' \
             osd 'allow class-read object_prefix rbd_children, allow rwx pool=datastore' \
             >$CEPH/ceph.client.olimpo.keyring");
}

fn write_the_configuration(site: &mut Site) {
    let with_our_addresses = "sed -e \"s|@192.168.1.150/|@127.0.0.1:$MARIADB/|\" \
         -e \"s|^auth_port = .*|auth_port = $KEYSTONE|\" -e 's|192.168.1.150|127.0.0.1|' \
         -e 's|^rabbit_hosts = .*|rabbit_hosts = 127.0.0.1|' \
         -e \"s|^rabbit_port = .*|rabbit_port = $RABBIT|\" -e \"s|/etc/ceph/|$CEPH/|\"";
    site.sh(&format!(
        "for part in api registry cache
         do {with_our_addresses} $PRINTED/ceph-hammer-$part.conf >glance-$part.conf
            glancefs config check --config-file glance-$part.conf
         done"
    ));
    // Without them the API would be open to this machine alone, where nobody is asked for a token.
    let checked = site.sh("glancefs config check --config-file glance-api.conf");
    assert!(checked.contains("no request is asked for a token"), "{checked}");
    // Instead of an old Glance's defaults; and without a driver nothing is told on the bus, then as now.
    let text = site.sh("sed -i '/^.DEFAULT/a enable_v1_api = True' glance-api.conf
         sed -i '/^.DEFAULT/a notification_driver = messagingv2' glance-api.conf
         printf '\\n[paste_deploy]\\nflavor = keystone\\n' >>glance-api.conf
         cat glance-api.conf");
    site.controller.configure(&text);
}

fn make_the_database(site: &Site) {
    site.sh("mariadb -h 127.0.0.1 -P $MARIADB -u root <<END
create database glance character set utf8 collate utf8_general_ci;
grant all on glance.* to glance@'%' identified by 'asdasd';
flush privileges;
exit
END");
    // Instead of `glance-manage db_sync`; a second time changes nothing.
    let sync = "glancefs db sync --config-file glance-registry.conf --config-file glance-api.conf";
    for _ in 0..2 {
        let done = site.sh(sync);
        assert!(done.contains("is up to date") && !done.contains("asdasd"), "{done}");
    }
}

fn make_the_user_and_the_endpoint(site: &Site) {
    // Instead of `keystone user-create`, `user-role-add`, `service-create`, `endpoint-create`.  It ends with 1,
    // always, when it was sent several commands; what misses one of them fails.
    site.sh("openstack <<END || [ $? = 1 ]
user create --domain default --password asdasd glance
role add --project service --user glance admin
service create --name glance image
endpoint create --region RegionOne image public http://192.168.1.150:9292
endpoint create --region RegionOne image internal http://192.168.1.150:9292
END");
}

fn add_an_image(site: &Site) {
    // Of the size of the one that was downloaded.
    site.controller.noise("disk", 13_000_000 / 512 * 512);
    site.sh("qemu-img convert -f raw -O qcow2 disk cirros-0.3.4-x86_64-disk.img");
    // The client of then; one of today says `--visibility public`.
    site.sh("export OS_IMAGE_API_VERSION=1
             glance image-create --name CirrOS-3.4 --is-public=true --disk-format=qcow2 \
                 --container-format=bare <cirros-0.3.4-x86_64-disk.img");
    site.sh("openstack image create --public --disk-format qcow2 --container-format bare \
                 --file cirros-0.3.4-x86_64-disk.img Debian-8-Jessie");
}

fn see_that_it_is_there(site: &Site) {
    let listed = site.sh("OS_IMAGE_API_VERSION=1 glance image-list </dev/null");
    let rows: Vec<Vec<_>> = listed
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    let size = site.sh("stat -c %s cirros-0.3.4-x86_64-disk.img");
    let row = |name| [name, "qcow2", "bare", size.trim(), "active"];
    assert_eq!(rows[0], ["ID", "Name", "Disk Format", "Container Format", "Size", "Status"]);
    assert_eq!(rows[1][1..], row("CirrOS-3.4"), "{listed}");
    assert_eq!(rows[2][1..], row("Debian-8-Jessie"), "{listed}");
    assert_eq!(rows.len(), 3, "{listed}");

    // Its author had `ceph -w` show how much there is.
    let in_pool = site.sh("rbd --conf $CEPH/ceph.conf --id olimpo ls datastore");
    let mut ids = [rows[1][0], rows[2][0]];
    ids.sort_unstable();
    assert_eq!(in_pool.lines().collect::<Vec<_>>(), ids);
    assert_eq!(site.sh("ls $M"), "CirrOS-3.4\nDebian-8-Jessie\n");
    site.sh("for image in $M/*; do cmp cirros-0.3.4-x86_64-disk.img $image; done
             qemu-img compare disk $M/CirrOS-3.4");
    let recorded = site.sh("mariadb -h 127.0.0.1 -P $MARIADB -u glance -pasdasd -N glance \
                                -e \"select id from images where status = 'active' order by id\"");
    assert_eq!(recorded.lines().collect::<Vec<_>>(), ids);
    // What `show_image_direct_url` is for.
    let (address, id) = (site.controller.api.unwrap(), rows[1][0]);
    let token = site.keystone.token("admin");
    let show = format!("curl -sf -H 'X-Auth-Token: {token}' http://{address}/v2/images/{id}");
    let shown: Value = serde_json::from_str(&site.sh(&show)).unwrap();
    assert_eq!(shown["direct_url"], format!("rbd://{}/datastore/{id}/snap", site.ceph.fsid()));
}

/// By RabbitMQ, whose address was in the printed file.
fn see_what_the_bus_was_told(site: &Site) {
    let is_second = |message: &Value| {
        message["event_type"] == "image.activate" && message["payload"]["name"] == "Debian-8-Jessie"
    };
    let told = site.rabbit.read_until("notifications.info", is_second);
    assert!(told.iter().all(|delivered| delivered.exchange == "glance"), "{told:?}");
    let events: Vec<_> = told
        .iter()
        .map(|delivered| delivered.message()["event_type"].as_str().unwrap().to_owned())
        .filter(|event| event == "image.create" || event == "image.activate")
        .collect();
    assert_eq!(events, ["image.create", "image.activate"].repeat(2));
}

fn strangers_are_sent_away(site: &Site) {
    let address = site.controller.api.unwrap();
    for path in ["v1/images", "v2/images"] {
        let status = format!("curl -s -o answer -w '%{{http_code}}' http://{address}/{path}");
        assert_eq!(site.sh(&status), "401");
    }
}

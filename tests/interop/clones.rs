//! The RBD driver of the real Cinder and the RBD disks of the real Nova, with our API as their Glance, and one
//! Ceph for all three: volumes and disks are clones of images, and images are made of them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Value, json};

use crate::ceph::store;
use crate::harness::{Cluster, DEADLINE, Glancefs, Keystone, Start, eventually};
use crate::program;

/// The caps that Ceph's documentation gives to Cinder.
const CINDER: [&str; 4] =
    ["mon", "profile rbd", "osd", "profile rbd pool=volumes, profile rbd-read-only pool=images"];
/// Those of the published instructions of 2013.
const VOLUMES: [&str; 4] = [
    "mon",
    "allow r",
    "osd",
    "allow class-read object_prefix rbd_children, allow rwx pool=volumes, allow rx pool=images",
];
/// Nova's snapshots are written into the pool of the images.
const NOVA: [&str; 4] =
    ["mon", "profile rbd", "osd", "profile rbd pool=vms, profile rbd pool=images"];
/// A user like any other.
const USER: &str = "project-a-member";

/// A cloud without machines.
struct Cloud {
    ceph: Cluster,
    keystone: Keystone,
    glancefs: Glancefs,
}

impl Cloud {
    /// With a pool for a service, and its user.
    fn new(pool: &str, user: &str, caps: &[&str]) -> Self {
        let (ceph, keystone) = thread::scope(|scope| {
            let keystone = scope.spawn(Keystone::start);
            let ceph = Cluster::start("memstore");
            ceph.run("ceph", &["osd", "pool", "create", pool, "8"]);
            ceph.run("rbd", &["pool", "init", pool]);
            ceph.add_user(user, caps);
            (ceph, keystone.join().unwrap())
        });
        let config = format!(
            "{}[DEFAULT]\nshow_image_direct_url = True\n{}",
            store(&ceph),
            keystone.config(300)
        );
        let glancefs = Start::default().config(&config).with_api().mount();
        Self { ceph, keystone, glancefs }
    }

    /// What a service's configuration says of a user of its own.
    fn credentials(&self, user: &str, project: &str) -> String {
        format!(
            "auth_type = password\nauth_url = {}\nusername = {user}\npassword = secret-of-{user}\n\
             project_name = {project}\nuser_domain_name = Default\nproject_domain_name = Default\n",
            self.keystone.url()
        )
    }

    /// Copies data into the mount as an image for everybody; its id.
    fn golden(&self) -> String {
        self.glancefs.noise("data", 9_000_448);
        self.glancefs
            .sh("cp data $M/golden; setfattr -n user.glance.visibility -v public $M/golden");
        self.glancefs.image("golden").id
    }

    /// `rbd`, with what it prints.
    fn rbd(&self, arguments: &[&str]) -> String {
        self.ceph.run("rbd", arguments)
    }

    /// A volume or disk is a clone of an image, and begins with its bytes.
    #[track_caller]
    fn assert_clone(&self, clone: &str, image: &str) {
        let info = self.ceph.rbd_json(&["info", clone]);
        let parent = &info["parent"];
        assert_eq!(
            (&parent["pool"], &parent["image"], &parent["snapshot"]),
            (&json!("images"), &json!(image), &json!("snap")),
            "{info}"
        );
        self.glancefs.sh(&format!(
            "rbd --conf {} export --no-progress {clone} - 2>/dev/null | cmp -n 9000448 - data",
            self.ceph.conf().display()
        ));
    }

    /// The image cannot go while it has clones, and nobody loses anything by trying.
    #[track_caller]
    fn assert_stays(&self, image: &str) {
        self.glancefs.refused("rm $M/golden", "Device or resource busy");
        let delete = format!(
            "curl -s -o answer -w '%{{http_code}}' -X DELETE -H 'X-Auth-Token: {}' http://{}/v2/images/{image}",
            self.keystone.token("admin"),
            self.glancefs.api.unwrap()
        );
        assert_eq!(self.glancefs.sh(&delete), "409");
        self.glancefs.assert_same("golden", "data", "raw");
        let snapshots = self.ceph.rbd_json(&["snap", "ls", &format!("images/{image}")]);
        assert_eq!(snapshots[0]["protected"], "true");
    }
}

/// A program of tests/python that has a service of OpenStack do things.
struct Service {
    child: Child,
    questions: ChildStdin,
    answers: Receiver<String>,
    log: PathBuf,
}

impl Service {
    /// Starts it with this configuration.
    fn start(cloud: &Cloud, name: &str, config: &str) -> Self {
        let file = cloud.glancefs.directory().join(format!("{name}-{}.conf", uuid()));
        fs::write(&file, config).unwrap();
        let log = file.with_extension("log");
        let script = format!("{}/tests/python/serve_{name}.py", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(program("GLANCEFS_TEST_OPENSTACK", "python"))
            .arg(script)
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (sender, answers) = channel();
        // A test that has ended listens no more.
        thread::spawn(move || lines.map(|line| sender.send(line)).all(|sent| sent.is_ok()));
        Self { questions: child.stdin.take().unwrap(), child, answers, log }
    }

    /// Has it do something: what came of it, or the name of the exception.
    #[track_caller]
    fn ask(&mut self, what: &str, arguments: &[Value]) -> Result<Value, String> {
        let question = [&[json!(what)], arguments].concat();
        writeln!(self.questions, "{}", Value::from(question)).unwrap();
        let answer = self.answers.recv_timeout(DEADLINE).unwrap_or_else(|error| {
            panic!("{what}: {error}: {}", fs::read_to_string(&self.log).unwrap())
        });
        let answer: Value = serde_json::from_str(&answer).unwrap();
        match answer["failed"].as_str() {
            Some(name) => Err(format!("{name}: {}", answer["because"])),
            None => Ok(answer["done"].clone()),
        }
    }

    /// The same, for what must be done.
    #[track_caller]
    fn has_done(&mut self, what: &str, arguments: &[Value]) -> Value {
        let log = self.log.clone();
        self.ask(what, arguments).unwrap_or_else(|why| {
            panic!("{what} {arguments:?}: {why}\n{}", fs::read_to_string(log).unwrap())
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As this user of Ceph, with these further sections.
fn cinder(cloud: &Cloud, user: &str, more: &str) -> Service {
    let config = format!(
        "[DEFAULT]\nauth_strategy = keystone\nglance_api_servers = http://{api}\n\
         state_path = {state}\n\
         [ceph]\nvolume_driver = cinder.volume.drivers.rbd.RBDDriver\nrbd_pool = volumes\n\
         rbd_user = {user}\nrbd_ceph_conf = {ceph}\n{more}",
        api = cloud.glancefs.api.unwrap(),
        state = cloud.glancefs.scratch().display(),
        ceph = cloud.ceph.conf().display(),
    );
    Service::start(cloud, "cinder", &config)
}

fn nova(cloud: &Cloud) -> Service {
    let config = format!(
        "[glance]\napi_servers = http://{api}\n\
         [service_user]\nsend_service_user_token = True\n{service}\
         [libvirt]\nimages_type = rbd\nimages_rbd_pool = vms\nimages_rbd_ceph_conf = {ceph}\n\
         rbd_user = nova\n",
        api = cloud.glancefs.api.unwrap(),
        service = cloud.credentials("project-b-service", "project-b"),
        ceph = cloud.ceph.conf().display(),
    );
    Service::start(cloud, "nova", &config)
}

fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[test]
#[ignore = "needs the real Cinder, Keystone and Ceph"]
fn cinders_volumes_are_clones_of_images_and_become_images() {
    let cloud = Cloud::new("volumes", "cinder", &CINDER);
    cloud.ceph.add_user("volumes", &VOLUMES);
    let own = format!("[glance]\n{}", cloud.credentials("glance", "service"));
    let (mut older, mut cinder) = (cinder(&cloud, "volumes", ""), cinder(&cloud, "cinder", &own));
    let token = json!(cloud.keystone.token(USER));
    let image = cloud.golden();

    let url = |image: &str| format!("rbd://{}/images/{image}/snap", cloud.ceph.fsid());
    let clone = |cinder: &mut Service| {
        let volume = uuid();
        let done = cinder.has_done("clone", &[token.clone(), json!(image), json!(volume)]);
        assert_eq!(done["cloned"], true);
        cloud.assert_clone(&format!("volumes/volume-{volume}"), &image);
        cloud.assert_stays(&image);
        cinder.has_done("delete", &[token.clone(), json!(volume)]);
        done
    };
    // By what images show, or by the locations, which Cinder asks for as a service.
    assert_eq!(clone(&mut older)["direct_url"], url(&image));
    let done = clone(&mut cinder);
    assert_eq!(
        (&done["direct_url"], &done["locations"][0]["url"]),
        (&Value::Null, &json!(url(&image)))
    );
    cloud.glancefs.sh("rm $M/golden");
    assert_eq!(cloud.rbd(&["ls", "images"]), "");

    let volume = uuid();
    let data = cloud.glancefs.scratch().join("data").display().to_string();
    cloud.rbd(&["import", "--no-progress", &data, &format!("volumes/volume-{volume}")]);
    let mut create = |name: &str| {
        let fields = json!({"name": name, "disk_format": "raw", "container_format": "bare"});
        cinder.has_done("create", &[token.clone(), fields])
    };
    let (uploaded, registered) = (create("uploaded"), create("registered"));
    cinder.has_done("upload", &[token.clone(), json!(volume), uploaded]);
    cloud.glancefs.assert_same("uploaded", "data", "raw");

    // A volume that stays where it is would be in no store of ours; then Cinder uploads it.
    let outside = json!(format!("cinder://{volume}"));
    let refused = cinder.ask("register", &[token.clone(), registered.clone(), outside]);
    assert!(refused.as_ref().is_err_and(|why| why.starts_with("Invalid:")), "{refused:?}");
    let id = registered.as_str().unwrap();
    let (from, to) = (format!("volumes/volume-{volume}"), format!("images/{id}"));
    cloud.rbd(&["cp", "--no-progress", &from, &to]);
    cloud.rbd(&["snap", "create", "--no-progress", &format!("{to}@snap")]);
    cloud.rbd(&["snap", "protect", &format!("{to}@snap")]);
    cinder.has_done("register", &[token, registered.clone(), json!(url(id))]);
    eventually("it is hashed", || cloud.glancefs.image("registered").os_hash_value.is_some());
    cloud.glancefs.assert_same("registered", "data", "raw");
}

#[test]
#[ignore = "needs the real Nova, Keystone and Ceph"]
fn novas_disks_are_clones_of_images_and_become_images() {
    let cloud = Cloud::new("vms", "nova", &NOVA);
    let mut nova = nova(&cloud);
    let token = json!(cloud.keystone.token(USER));
    let image = json!(cloud.golden());
    let id = image.as_str().unwrap();

    let machine = json!(uuid());
    nova.has_done("clone", &[token.clone(), image.clone(), machine.clone()]);
    cloud.assert_clone(&format!("vms/{}_disk", machine.as_str().unwrap()), id);
    cloud.assert_stays(id);
    let admin = json!(cloud.keystone.token("admin"));
    let refused = nova.ask("delete_image", &[admin, image.clone()]);
    assert!(refused.as_ref().is_err_and(|why| why.contains("ImageDeleteConflict")), "{refused:?}");

    // Of what is in the pool, without a byte over the API.
    let arguments = [token.clone(), image.clone(), machine.clone(), json!("snapshot")];
    let snapshot = nova.has_done("snapshot", &arguments);
    eventually("it is hashed", || cloud.glancefs.image("snapshot").os_hash_value.is_some());
    let made = cloud.glancefs.assert_same("snapshot", "data", "raw");
    assert_eq!(made.id, snapshot);
    assert_eq!(made.locations, [format!("rbd://{}/images/{}/snap", cloud.ceph.fsid(), made.id)]);

    nova.has_done("delete", &[token, machine]);
    cloud.glancefs.sh("rm $M/golden $M/snapshot");
    assert_eq!(cloud.rbd(&["ls", "images"]), "");
}

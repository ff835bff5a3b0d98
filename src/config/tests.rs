//! Whole configurations, among them those of the published instructions that people follow.

use super::*;
use crate::catalog::database::Place;
use crate::catalog::mysql::server::Server;

fn load_with(text: &str, overrides: Overrides) -> Result<Config> {
    let file = ini::parse(Path::new("glance-api.conf"), text)?;
    let state_dir = Some(overrides.state_dir.unwrap_or_else(|| "/state".into()));
    Config::from_reader(Reader::of(vec![file]), &Overrides { state_dir, ..overrides })
}

fn load(text: &str) -> Result<Config> {
    load_with(text, Overrides::default())
}

/// The one file store of a configuration.
fn file_store(config: &Config) -> &stores::FileSettings {
    match &config.stores[..] {
        [StoreSettings { kind: stores::StoreKind::File(file), .. }] => file,
        other => panic!("{other:?}"),
    }
}

fn rbd_store(store: &StoreSettings) -> &stores::RbdSettings {
    match &store.kind {
        stores::StoreKind::Rbd(rbd) => rbd,
        other => panic!("{other:?}"),
    }
}

fn names(config: &Config) -> Vec<&str> {
    config.stores.iter().map(|store| store.name.as_str()).collect()
}

fn failure(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

#[test]
fn nothing_at_all_means_sqlite_files_and_loopback() {
    let config = load("").unwrap();
    assert_eq!(config.catalog, Database::file("/state/glance.sqlite"));
    assert_eq!(file_store(&config).datadir, Path::new("/state/images"));
    assert_eq!(config.listen.unwrap().to_string(), "127.0.0.1:9292");
    assert_eq!(file_store(&config).perm, 0o640);
    assert_eq!(config.image_size_cap, 1 << 40);
    assert_eq!(config.image_property_quota, Some(128));
    assert_eq!((config.limit_param_default, config.api_limit_max), (25, 1000));
    assert_eq!(config.disk_formats.len(), 11);
    assert!(config.require_image_format_match && !config.show_image_direct_url);
    assert!(config.identity().admin);
    assert!(config.notes.is_empty() && config.unused.is_empty());
}

#[test]
fn a_server_is_taken_out_of_rotation_by_its_own_files() {
    let text = "[healthcheck]\ndisable_by_file_path = /run/all\n\
                disable_by_file_paths = 9292:/run/one, 9293:/run/two\n";
    let health = load(text).unwrap().http.health;
    assert_eq!(health.disabling_files(9292), ["/run/all", "/run/one"].map(PathBuf::from));
    assert_eq!(health.disabling_files(1), [PathBuf::from("/run/all")]);
    for bad in ["/run/one", "x:/run/one", "9292:"] {
        let error = failure(&format!("[healthcheck]\ndisable_by_file_paths = {bad}\n"));
        assert!(error.contains("PORT:FILE"), "{error}");
    }
}

#[test]
fn the_image_cache_is_where_glance_has_it_and_nowhere_by_default() {
    let config = load("").unwrap();
    assert_eq!((config.image_cache_dir, config.image_cache_max_size), (None, 10 << 30));
    let text = "[DEFAULT]\nimage_cache_dir = /var/lib/glance/image-cache/\n\
                image_cache_max_size = 5000000\nimage_cache_stall_time = 86400\n";
    let config = load(text).unwrap();
    assert_eq!(config.image_cache_dir.unwrap(), Path::new("/var/lib/glance/image-cache"));
    assert_eq!(config.image_cache_max_size, 5_000_000);
    let unused: Vec<_> = config.unused.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(unused, ["image_cache_stall_time"]);
    let refused = failure("[DEFAULT]\nimage_cache_max_size = 10G\n");
    assert!(refused.contains("image_cache_max_size"), "{refused}");
}

#[test]
fn a_file_of_2014_is_understood() {
    let config = load(
        "[DEFAULT]\nsql_connection = sqlite:////var/lib/glance/glance.sqlite\n\
         default_store = file\nfilesystem_store_datadir = /var/lib/glance/images/\t# 檔案\n\
         verbose = True\t# x\nregistry_host = 0.0.0.0\nworkers = 4\n",
    )
    .unwrap();
    assert_eq!(config.catalog, Database::file("/var/lib/glance/glance.sqlite"));
    assert_eq!(file_store(&config).datadir.as_os_str(), "/var/lib/glance/images");
    let unused: Vec<_> = config.unused.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(unused, ["verbose", "registry_host", "workers"]);
    assert!(config.unused.iter().all(|u| u.known_to_glance));
}

#[test]
fn a_file_that_names_no_host_stays_on_loopback() {
    let config = load("[DEFAULT]\nbind_port = 19292\n").unwrap();
    assert_eq!(config.listen.unwrap().to_string(), "127.0.0.1:19292");
}

#[test]
fn listening_on_the_network_is_warned_of() {
    let config = load("[DEFAULT]\nbind_host = 0.0.0.0\n").unwrap();
    assert_eq!(config.listen.unwrap().to_string(), "0.0.0.0:9292");
    assert!(config.notes[0].contains("without authentication"), "{:?}", config.notes);
    assert_eq!(load("[DEFAULT]\nbind_host = [::1]\n").unwrap().notes, [""; 0]);
}

#[test]
fn who_shuts_out_others_and_names_nobody_is_warned() {
    let config = load("[glancefs]\nunmapped = deny\n").unwrap();
    assert!(config.notes[0].contains("without uid_map"), "{:?}", config.notes);
    let config = load("[glancefs]\nunmapped = deny\nuid_map = 7:red:member\n").unwrap();
    assert_eq!(config.notes, [""; 0]);
}

#[test]
fn with_keystone_the_network_is_served_without_a_warning() {
    let keystone = "[paste_deploy]\nflavor = keystone+caching\n[keystone_authtoken]\n\
                    auth_url = http://k:5000\nusername = g\npassword = s\nproject_name = p\n";
    let config = load(keystone).unwrap();
    assert_eq!(config.listen.unwrap().to_string(), "0.0.0.0:9292");
    assert!(config.token_checks.is_some() && config.notes.is_empty(), "{:?}", config.notes);
    // Without an API, nobody is asked for a token.
    let off = Overrides { listen: Listen::Off, ..Overrides::default() };
    assert_eq!(load_with("[paste_deploy]\nflavor = keystone\n", off).unwrap().token_checks, None);
}

#[test]
fn a_keystone_that_is_never_asked_is_warned_of() {
    let described = "[DEFAULT]\nauth_strategy = keystone\n[keystone_authtoken]\nauth_host = k\n";
    let notes = load(described).unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains("flavor = keystone"), "{notes:?}");
    let meant = format!("{described}[paste_deploy]\nflavor =\n");
    assert_eq!(load(&meant).unwrap().notes, [""; 0]);
    let off = Overrides { listen: Listen::Off, ..Overrides::default() };
    assert_eq!(load_with(described, off).unwrap().notes, [""; 0]);
}

#[test]
fn options_for_the_registry_are_said_to_be_nobodys_business() {
    let config = load("[DEFAULT]\nregistry_host = 192.168.1.150\nworkers = 4\n").unwrap();
    let warnings = config.warnings();
    assert!(warnings[0].ends_with("no glance-registry is asked: [DEFAULT] registry_host"));
    assert_eq!(warnings[1], "1 options have no effect here: [DEFAULT] workers");
}

/// The server of a configuration that names one.
fn server(text: &str) -> Server {
    match load(text).unwrap().catalog.place {
        Place::Server(server) => *server,
        Place::File(path) => panic!("{}", path.display()),
    }
}

#[test]
fn the_database_of_the_published_instructions_is_understood() {
    let old = server("[DEFAULT]\nsql_connection = mysql://glance:s3cret@192.168.100.1/glance\n");
    assert_eq!((&*old.host, old.port, old.max_pool_size), ("192.168.100.1", 3306, 5));
    let new = server(
        "[database]\nconnection = mysql+pymysql://glance:GLANCE_DBPASS@controller/glance\n\
         idle_timeout = 200\nmax_pool_size = 3\nmax_overflow = 0\nmax_retries = -1\n\
         [DEFAULT]\nsql_retry_interval = 2\n",
    );
    assert_eq!((&*new.host, &*new.user, &*new.database), ("controller", "glance", "glance"));
    assert_eq!((new.max_pool_size, new.max_overflow, new.max_retries), (3, 0, None));
    assert_eq!(new.recycle, Some(Duration::from_secs(200)));
    assert_eq!(new.retry_interval, Duration::from_secs(2));
}

#[test]
fn a_password_is_in_no_message_and_in_nothing_that_is_printed() {
    for url in ["mysql://glance:s3cret@db", "mysql://g:s3cret@h/d?x=s3cret", "pg://g:s3cret@h/d"] {
        let message = failure(&format!("[database]\nconnection = {url}\n"));
        assert!(message.starts_with("glance-api.conf:2: [database] connection"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
    let key = "metadata_encryption_key = 0123456789abcdef";
    let config =
        load(&format!("[DEFAULT]\n{key}\n[database]\nconnection = mysql://g:s3cret@h/d\n"));
    let shown = format!("{:?}", config.unwrap());
    assert!(!shown.contains("s3cret") && !shown.contains("0123456789abcdef"), "{shown}");
    assert!(failure("[DEFAULT]\nmetadata_encryption_key = k3y\n").contains("16, 24 or 32"));
}

#[test]
fn sqlite_urls_need_a_file() {
    for url in ["sqlite://", "sqlite:///", "sqlite:///:memory:", "/a/path", "postgresql://h/d"] {
        assert!(failure(&format!("[database]\nconnection = {url}\n")).contains("four slashes"));
    }
    let config = load("[database]\nconnection = sqlite:////a/b.db?timeout=5\n").unwrap();
    assert_eq!(config.catalog, Database::file("/a/b.db"));
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides {
        state_dir: Some("/mine".into()),
        listen: Listen::On("127.0.0.1:1".parse().unwrap()),
        project: Some(ProjectId::new("p")),
        verbose: true,
        log_format: None,
    };
    let text = "[DEFAULT]\nbind_port = 2\n[glancefs]\nstate_dir = /theirs\nmount_project = q\n";
    let config = load_with(text, overrides).unwrap();
    assert_eq!(file_store(&config).datadir, Path::new("/mine/images"));
    assert_eq!(config.listen.unwrap().port(), 1);
    assert_eq!(config.project, Some(ProjectId::new("p")));
    assert!(config.logging.debug && !config.identity().admin);
    assert!(config.unused.is_empty());
}

#[test]
fn backends_have_names_and_sections_of_their_own() {
    let config = load(
        "[DEFAULT]\nenabled_backends = slow:file, web:http, fast:file, Ceph:rbd\n\
         [glance_store]\ndefault_backend = fast\nfilesystem_store_datadir = /wrong\n\
         rbd_store_pool = wrong\n\
         [fast]\nfilesystem_store_datadir = /fast\nfilesystem_store_file_perm = 600\n\
         filesystem_thin_provisioning = true\nstore_description = Quick one\n\
         [ceph]\nrbd_store_user = glance\nrados_connect_timeout = 0\n",
    )
    .unwrap();
    assert_eq!(names(&config), ["fast", "slow", "Ceph"], "the default one is first");
    assert_eq!(config.enabled_backends, ["slow", "fast", "Ceph"]);
    assert_eq!(config.stores[0].description.as_deref(), Some("Quick one"));
    let fast =
        stores::FileSettings { datadir: "/fast".into(), perm: 0o600, thin_provisioning: true };
    assert_eq!(config.stores[0].kind, stores::StoreKind::File(fast));
    let slow = stores::FileSettings {
        datadir: "/state/images/slow".into(),
        perm: 0o640,
        thin_provisioning: false,
    };
    assert_eq!(config.stores[1].kind, stores::StoreKind::File(slow));
    let rbd = rbd_store(&config.stores[2]);
    assert_eq!((rbd.pool.as_str(), rbd.user.as_deref()), ("images", Some("glance")));
    assert_eq!(rbd.connect_timeout, Some(std::time::Duration::ZERO));
    assert!(config.notes[0].contains("web:http"), "{:?}", config.notes);
}

#[test]
fn backends_that_cannot_be_are_refused() {
    let with = |backends: &str| failure(&format!("[DEFAULT]\nenabled_backends = {backends}\n"));
    assert!(with("web:http, old:swift").contains("file and rbd"));
    assert!(with("a:file, a:rbd").contains("twice"));
    let default = "[DEFAULT]\nenabled_backends = a:file\n[glance_store]\ndefault_backend = b\n";
    assert!(failure(default).contains("default_backend"));
    let same = "[DEFAULT]\nenabled_backends = a:file, b:file\n\
                [a]\nfilesystem_store_datadir = /x\n[b]\nfilesystem_store_datadir = /x/\n";
    assert!(failure(same).contains("same place"));
}

#[test]
fn rbd_in_the_spellings_of_2013_and_of_today() {
    // As published instructions have them.
    let old = "[DEFAULT]\ndefault_store = rbd\nrbd_store_user = olimpo\n\
               rbd_store_ceph_conf = /etc/ceph/ceph.conf\nrbd_store_pool = datastore\n";
    let new = "[glance_store]\nstores = rbd\nrbd_store_pool = datastore\n\
               rbd_store_user = olimpo\nrbd_store_ceph_conf = /etc/ceph/ceph.conf\n\
               rbd_store_chunk_size = 8\n";
    for text in [old, new] {
        let config = load(text).unwrap();
        assert_eq!((names(&config), config.enabled_backends.len()), (vec!["rbd"], 0));
        let expected = stores::RbdSettings {
            conf: Some("/etc/ceph/ceph.conf".into()),
            user: Some("olimpo".into()),
            pool: "datastore".into(),
            chunk_mib: 8,
            data_pool: None,
            connect_timeout: None,
            thin_provisioning: false,
        };
        assert_eq!(rbd_store(&config.stores[0]), &expected);
        assert!(config.notes.is_empty() && config.unused.is_empty(), "{:?}", config.unused);
    }
}

#[test]
fn stores_may_be_named_by_their_classes_and_unknown_ones_are_left_out() {
    let config = load(
        "[DEFAULT]\ndefault_store = rbd\nknown_stores = glance.store.filesystem.Store, \
         glance.store.swift.Store, glance.store.rbd.Store\n",
    )
    .unwrap();
    assert_eq!(names(&config), ["rbd", "file"]);
    let both = "[glance_store]\nstores = file,http,rbd\n";
    assert_eq!(names(&load(both).unwrap()), ["file", "rbd"]);
    assert_eq!(names(&load("[glance_store]\nstores = file,http\n").unwrap()), ["file"]);
}

#[test]
fn other_stores_are_refused_by_name() {
    let message = failure("[DEFAULT]\ndefault_store = swift\n");
    assert!(message.starts_with("glance-api.conf:2: "), "{message}");
}

#[test]
fn objects_have_a_size_that_rbd_can_have() {
    let with = |size: &str| {
        load(&format!("[DEFAULT]\ndefault_store = rbd\nrbd_store_chunk_size = {size}\n"))
    };
    assert_eq!(rbd_store(&with("4").unwrap().stores[0]).chunk_mib, 4);
    for wrong in ["0", "3", "64", "big"] {
        assert!(with(wrong).unwrap_err().to_string().contains("rbd_store_chunk_size"), "{wrong}");
    }
}

#[test]
fn several_data_directories_are_refused_one_is_taken() {
    let one = "[glance_store]\nfilesystem_store_datadirs = /a/b:200\n";
    assert_eq!(file_store(&load(one).unwrap()).datadir, Path::new("/a/b"));
    let many = "[glance_store]\nfilesystem_store_datadirs = /a:200,/b\n";
    assert!(failure(many).contains("filesystem_store_datadir"));
}

#[test]
fn file_modes_are_octal_and_must_let_the_owner_read() {
    let with = |perm: &str| load(&format!("[DEFAULT]\nfilesystem_store_file_perm = {perm}\n"));
    assert_eq!(file_store(&with("0").unwrap()).perm, 0o640);
    assert_eq!(file_store(&with("644").unwrap()).perm, 0o644);
    for wrong in ["9", "040", "1777", "-1"] {
        assert!(with(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_storage_quota_may_have_a_unit() {
    let quota = |text: &str| {
        let config = load(&format!("[DEFAULT]\nuser_storage_quota = {text}\n"));
        config.map(|config| config.user_storage_quota)
    };
    assert_eq!(quota("").unwrap(), None);
    assert_eq!(quota("0").unwrap(), None);
    assert_eq!(quota("1000").unwrap(), Some(1000));
    assert_eq!(quota("7B").unwrap(), Some(7));
    assert_eq!(quota("2GB").unwrap(), Some(2 << 30));
    for bad in ["-1", "2 GB", "2gb", "GB", "1e3", "9999999999TB", "1.5GB"] {
        assert!(quota(bad).is_err(), "{bad}");
    }
}

#[test]
fn http_is_plain_and_closed_unless_it_is_opened() {
    let config = load("").unwrap();
    assert_eq!(config.http.tls, None);
    assert!(!config.http.behind_proxy && !config.http.v1);
    assert!(config.http.cors.allowed_origin.is_empty() && config.http.cors.allow_credentials);
    assert_eq!(config.http.cors.allow_methods, ["GET", "PUT", "POST", "DELETE", "PATCH"]);
    let text = "[DEFAULT]\ncert_file = /c\nkey_file = /k\n[cors]\nallowed_origin = a,b\n\
                max_age = 0\n[oslo_middleware]\nenable_proxy_headers_parsing = true\n";
    let config = load(text).unwrap();
    assert!(config.http.tls.is_some() && config.http.behind_proxy);
    assert_eq!(config.http.cors.allowed_origin, ["a", "b"]);
    for half in ["cert_file = /c", "key_file = /k", "ca_file = /a", "ca_file=/a\nkey_file=/k"] {
        let error = load(&format!("[DEFAULT]\n{half}\n")).unwrap_err().to_string();
        assert!(error.contains("go together"), "{error}");
    }
}

#[test]
fn negative_quotas_mean_none() {
    assert_eq!(load("[DEFAULT]\nimage_tag_quota = -1\n").unwrap().image_tag_quota, None);
    assert_eq!(load("[DEFAULT]\nimage_tag_quota = 0\n").unwrap().image_tag_quota, Some(0));
}

#[test]
fn a_page_is_never_longer_than_the_longest_allowed() {
    let config = load("[DEFAULT]\napi_limit_max = 10\n").unwrap();
    assert_eq!(config.limit_param_default, 10);
}

#[test]
fn only_digests_that_exist_are_taken() {
    let with = |name: &str| load(&format!("[DEFAULT]\nhashing_algorithm = {name}\n"));
    assert_eq!(with("SHA256").unwrap().hashing_algorithm.name(), "sha256");
    assert!(with("md5").unwrap_err().to_string().contains("sha512"));
}

#[test]
fn data_waits_where_glance_has_it_wait() {
    let staging = |text: &str| load(text).map(|config| config.staging_dir);
    assert_eq!(staging("").unwrap(), Path::new("/state/staging"));
    let uri = "[DEFAULT]\nnode_staging_uri = file:///srv/staging/\n";
    assert_eq!(staging(uri).unwrap(), Path::new("/srv/staging"));
    let datadir = "[os_glance_staging_store]\nfilesystem_store_datadir = /srv/other\n";
    assert_eq!(staging(&format!("{uri}{datadir}")).unwrap(), Path::new("/srv/staging"));
    let several = "[DEFAULT]\nenabled_backends = a:file\n[a]\nfilesystem_store_datadir = /a\n";
    assert_eq!(staging(&format!("{several}{uri}{datadir}")).unwrap(), Path::new("/srv/other"));
    for bad in ["/srv/staging", "file://srv", "http://x/y"] {
        let refused = failure(&format!("[DEFAULT]\nnode_staging_uri = {bad}\n"));
        assert!(refused.contains("file:///absolute/path"), "{refused}");
    }
}

#[test]
fn only_methods_of_import_that_exist_are_offered() {
    let config = load("").unwrap();
    assert_eq!(config.enabled_import_methods, ["glance-direct", "copy-image"]);
    let text = "[DEFAULT]\nenabled_import_methods = [copy-image,vmware-copy]\n\
                [task]\ntask_time_to_live = 2\n[glancefs]\nimport_timeout = 60\n";
    let config = load(text).unwrap();
    assert_eq!(config.enabled_import_methods, ["copy-image"]);
    assert!(config.notes.iter().any(|note| note.contains("vmware-copy")), "{:?}", config.notes);
    assert_eq!(config.task_time_to_live, Duration::from_secs(7200));
    assert_eq!((config.import_timeout, config.max_imports), (Duration::from_secs(60), 4));
    assert!(
        load("[DEFAULT]\nenabled_import_methods = []\n").unwrap().enabled_import_methods.is_empty()
    );
}

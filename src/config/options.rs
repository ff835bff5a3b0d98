//! Every option that is read from a configuration file: its name, older names, default, meaning.
//!
//! The one table behind [`super::Config`], the manual page and the warnings about what has no
//! effect.  Names and defaults are Glance's own (33.0.0) except in `[glancefs]`.

/// What a value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// true or false (oslo.config: also 1, on, yes and 0, off, no).
    Boolean,
    /// A whole number.
    Integer,
    /// Items between commas.
    List,
    /// Anything else.
    Text,
}

impl Kind {
    /// The kind of an option that has this default.
    const fn of(default: &str) -> Self {
        match default.as_bytes() {
            b"true" | b"false" => Self::Boolean,
            [b'-' | b'0'..=b'9', rest @ ..] if all_digits(rest) => Self::Integer,
            _ => Self::Text,
        }
    }
}

const fn all_digits(mut text: &[u8]) -> bool {
    while let [first, rest @ ..] = text {
        if !first.is_ascii_digit() {
            return false;
        }
        text = rest;
    }
    true
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::List => "list",
            Self::Text => "text",
        })
    }
}

/// An option of a configuration file.
#[derive(Debug)]
pub struct ConfigOption {
    /// The section it belongs to.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What its value has to be.
    pub kind: Kind,
    /// Older spellings that are read too: `(section, name)`.
    pub old_names: &'static [(&'static str, &'static str)],
    /// The value when no file says otherwise; `<…>` stands for what is worked out at start, empty
    /// for none.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

impl ConfigOption {
    /// Whether the default is a value (and not words that describe one).
    pub fn has_fixed_default(&self) -> bool {
        !self.default.starts_with('<')
    }

    /// All spellings, the current one first.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        std::iter::once((self.section, self.name)).chain(self.old_names.iter().copied())
    }
}

impl std::fmt::Display for ConfigOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {}", self.section, self.name)
    }
}

/// Declares each option as a constant, and [`OPTIONS`] as all of them, so that none is forgotten.
/// Its kind is that of its default, or said after `as`.
macro_rules! options {
    ($($constant:ident: [$section:literal] $name:literal $(as $kind:ident)? $(old $old:expr)?, $default:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: ConfigOption = ConfigOption {
                section: $section,
                name: $name,
                kind: options!(@kind $default $(, $kind)?),
                old_names: options!(@old $($old)?),
                default: $default,
                help: $help,
            };
        )*
        /// All options, in the order of the manual page.
        pub const OPTIONS: &[ConfigOption] = &[$($constant),*];
    };
    (@kind $default:literal) => { Kind::of($default) };
    (@kind $default:literal, $kind:ident) => { Kind::$kind };
    (@old) => { &[] };
    (@old $old:expr) => { &$old };
}

options! {
    DEBUG: ["DEFAULT"] "debug", "false",
        "Log what is being done, not only what matters.";
    LOG_FILE: ["DEFAULT"] "log_file" old [("DEFAULT", "logfile")], "",
        "File to log to, in log_dir unless it is an absolute path; empty: standard error.";
    LOG_DIR: ["DEFAULT"] "log_dir" old [("DEFAULT", "logdir")], "",
        "Directory of log_file, which is glancefs.log then if it is not set.";
    USE_SYSLOG: ["DEFAULT"] "use_syslog", "false",
        "Without log_file and log_dir: log to the system's log.";
    SYSLOG_FACILITY: ["DEFAULT"] "syslog_log_facility", "LOG_USER",
        "Under what the system's log files it.";
    USE_JSON: ["DEFAULT"] "use_json", "false",
        "Log each line as a JSON object (here with fields of our own: timestamp, level, fields, spans).";
    BIND_HOST: ["DEFAULT"] "bind_host", "<0.0.0.0 with flavor keystone, else 127.0.0.1>",
        "Address that the API listens on (Glance: 0.0.0.0; here loopback where there is no authentication).";
    BIND_PORT: ["DEFAULT"] "bind_port", "9292",
        "TCP port of the API.";
    PUBLIC_ENDPOINT: ["DEFAULT"] "public_endpoint", "",
        "Base URL in the API's answers when a proxy stands in front; empty: as the client asked.";
    CERT_FILE: ["DEFAULT"] "cert_file", "",
        "Certificate of the API for TLS (PEM), those that vouch for it after it; empty: plain HTTP.";
    KEY_FILE: ["DEFAULT"] "key_file", "",
        "Private key of that certificate (PEM).";
    CA_FILE: ["DEFAULT"] "ca_file", "",
        "Certificates (PEM) one of which must vouch for every client; empty: clients need none.";
    ENABLE_V1_API: ["DEFAULT"] "enable_v1_api", "false",
        "Also answer the old /v1 API, without copy_from and location.";
    PROPERTY_PROTECTION_FILE: ["DEFAULT"] "property_protection_file", "",
        "File that says who may see and set which property; empty: every property is like the others.";
    PROPERTY_PROTECTION_RULE_FORMAT: ["DEFAULT"] "property_protection_rule_format", "roles",
        "What that file names: roles, or policies of the policy file.";
    SHOW_IMAGE_DIRECT_URL: ["DEFAULT"] "show_image_direct_url", "false",
        "Show where an image's data is stored (direct_url).";
    SHOW_MULTIPLE_LOCATIONS: ["DEFAULT"] "show_multiple_locations", "false",
        "Show all of an image's locations.";
    IMAGE_SIZE_CAP: ["DEFAULT"] "image_size_cap", "1099511627776",
        "Largest image that may be uploaded, in bytes.";
    IMAGE_PROPERTY_QUOTA: ["DEFAULT"] "image_property_quota", "128",
        "Most custom properties of one image; negative: no limit.";
    IMAGE_TAG_QUOTA: ["DEFAULT"] "image_tag_quota", "128",
        "Most tags of one image; negative: no limit.";
    IMAGE_MEMBER_QUOTA: ["DEFAULT"] "image_member_quota", "128",
        "Most projects that one image is shared with; negative: no limit.";
    IMAGE_LOCATION_QUOTA: ["DEFAULT"] "image_location_quota", "10",
        "Most locations of one image; negative: no limit.";
    USER_STORAGE_QUOTA: ["DEFAULT"] "user_storage_quota" as Text, "0",
        "Most bytes that all images of one project take, every copy counted, by the API and by the mount: \
         a number, or one with KB, MB, GB or TB right behind it; 0: no limit.";
    USE_KEYSTONE_LIMITS: ["DEFAULT"] "use_keystone_limits", "false",
        "Take from Keystone what each project may have, instead of user_storage_quota: image_size_total and image_stage_total (MiB), \
         image_count_total and image_count_uploading; see section oslo_limit.";
    LIMIT_PARAM_DEFAULT: ["DEFAULT"] "limit_param_default", "25",
        "Images in one page of a listing when the client does not say.";
    API_LIMIT_MAX: ["DEFAULT"] "api_limit_max", "1000",
        "Most images in one page of a listing.";
    HASHING_ALGORITHM: ["DEFAULT"] "hashing_algorithm", "sha512",
        "Digest stored as os_hash_value: sha256, sha384 or sha512.";
    DO_SECURE_HASH: ["DEFAULT"] "do_secure_hash", "true",
        "Hash the data that POST /v2/images/{id}/locations names, in the background.";
    HTTP_RETRIES: ["DEFAULT"] "http_retries", "3",
        "How often that hash is tried again when the data cannot be read.";
    ENABLED_BACKENDS: ["DEFAULT"] "enabled_backends" as List, "",
        "Stores as name:type, …, of type file or rbd, each with a section of its own.";
    IMPORT_METHODS: ["DEFAULT"] "enabled_import_methods" as List, "glance-direct,copy-image",
        "Methods of import that clients may ask for; also web-download and glance-download.";
    STAGING_URI: ["DEFAULT"] "node_staging_uri", "<file:// and staging in the state directory>",
        "Directory, as file:///path, where data waits to be imported.";
    IMAGE_CACHE_DIR: ["DEFAULT"] "image_cache_dir", "",
        "Directory for copies of images that are read often (in glancefs below it); empty: no copies.";
    IMAGE_CACHE_MAX_SIZE: ["DEFAULT"] "image_cache_max_size", "10737418240",
        "Bytes of disk that the copies take, never more.";
    METADATA_ENCRYPTION_KEY: ["DEFAULT"] "metadata_encryption_key", "",
        "AES key of 16, 24 or 32 bytes that the URLs of locations are encrypted with; empty: they are not.";
    WORKER_SELF_REFERENCE_URL: ["DEFAULT"] "worker_self_reference_url", "",
        "URL of this daemon, for /v2/cache/nodes to name; empty: it names none.";
    DELAYED_DELETE: ["DEFAULT"] "delayed_delete", "false",
        "Keep the data of deleted images, by the API and by the mount, until it is scrubbed: see glancefs scrub.";
    SCRUB_TIME: ["DEFAULT"] "scrub_time", "0",
        "Seconds for which it is kept at least.";
    SCRUB_POOL_SIZE: ["DEFAULT"] "scrub_pool_size", "1",
        "Images that are scrubbed at a time.";
    SCRUB_DAEMON: ["DEFAULT"] "daemon" as Boolean, "<true with delayed_delete where a file says scrub_time, else false>",
        "Scrub in the background, but not with -o ro; otherwise only glancefs scrub --once does.";
    WAKEUP_TIME: ["DEFAULT"] "wakeup_time", "300",
        "Seconds between two looks for images to scrub, in the background, and at the trash; 0 is as 1.";
    PUBLISHER_ID: ["DEFAULT"] "default_publisher_id", "image.localhost",
        "Who notifications say that they are from.";
    DISABLED_NOTIFICATIONS: ["DEFAULT"] "disabled_notifications" as List, "",
        "Notifications that are not sent: events as image.send, or all of a group as image, task, metadef_tag.";
    TRANSPORT_URL: ["DEFAULT"] "transport_url", "<rabbit:// and what the older options of section oslo_messaging_rabbit say>",
        "The message bus, as rabbit://user:password@host:port,user:password@host:port/virtual_host.";
    CONTROL_EXCHANGE: ["DEFAULT"] "control_exchange"
        old [("DEFAULT", "rabbit_notification_exchange"), ("oslo_messaging_rabbit", "default_notification_exchange")],
        "glance", "The exchange that notifications go to.";
    CORS_ORIGIN: ["cors"] "allowed_origin" as List, "",
        "Sites whose pages may use the API, as scheme://host:port; * for all; empty: none.";
    CORS_CREDENTIALS: ["cors"] "allow_credentials", "true",
        "Let those pages send what identifies the user.";
    CORS_EXPOSE: ["cors"] "expose_headers" as List,
        "X-Image-Meta-Checksum,X-Auth-Token,X-Subject-Token,X-Service-Token,X-OpenStack-Request-ID",
        "Headers of answers that those pages may read.";
    CORS_MAX_AGE: ["cors"] "max_age", "3600",
        "Seconds for which a browser may remember a permission.";
    CORS_METHODS: ["cors"] "allow_methods" as List, "GET,PUT,POST,DELETE,PATCH",
        "Methods that those pages may use.";
    CORS_HEADERS: ["cors"] "allow_headers" as List,
        "Content-MD5,X-Image-Meta-Checksum,X-Storage-Token,Accept-Encoding,X-Auth-Token,X-Identity-Status,X-Roles,X-Service-Catalog,X-User-Id,X-Tenant-Id,X-OpenStack-Request-ID",
        "Headers that those pages may send, beside the usual ones.";
    CONNECTION: ["database"] "connection"
        old [("DEFAULT", "sql_connection"), ("database", "sql_connection"), ("sql", "connection")],
        "<sqlite:/// and glance.sqlite in the state directory>",
        "The catalog: sqlite:////absolute/path or mysql+pymysql://user:password@host/database.";
    CONNECTION_RECYCLE_TIME: ["database"] "connection_recycle_time"
        old [("database", "idle_timeout"), ("DEFAULT", "sql_idle_timeout"), ("sql", "idle_timeout")],
        "3600", "Seconds after which a connection to the server is made anew; -1: never.";
    MAX_POOL_SIZE: ["database"] "max_pool_size" old [("DEFAULT", "sql_max_pool_size")], "5",
        "Connections to the server that are kept; 0: any number.";
    MAX_OVERFLOW: ["database"] "max_overflow" old [("DEFAULT", "sql_max_overflow")], "50",
        "Connections beyond those, while they are needed; -1: any number.";
    MAX_RETRIES: ["database"] "max_retries"
        old [("database", "sql_max_retries"), ("DEFAULT", "sql_max_retries")], "10",
        "How often the server is tried again at start when it is not there; -1: for ever.";
    RETRY_INTERVAL: ["database"] "retry_interval" old [("DEFAULT", "sql_retry_interval")], "10",
        "Seconds in between.";
    MYSQL_WSREP_SYNC_WAIT: ["database"] "mysql_wsrep_sync_wait" as Integer, "",
        "Galera: which statements wait for what other nodes have committed; empty: as the server says.";
    STORES: ["glance_store"] "stores" as List
        old [("DEFAULT", "stores"), ("DEFAULT", "known_stores")], "",
        "Without enabled_backends: which stores images are read from, besides the default one: file, rbd.";
    DEFAULT_STORE: ["glance_store"] "default_store" old [("DEFAULT", "default_store")], "file",
        "Where new images go without enabled_backends: file or rbd.";
    DEFAULT_BACKEND: ["glance_store"] "default_backend", "",
        "Which of enabled_backends new images go to; empty: the first.";
    STORE_DESCRIPTION: ["glance_store"] "store_description", "",
        "In the section of one of enabled_backends: what it is, for people.";
    STORE_WEIGHT: ["glance_store"] "weight", "0",
        "In the section of one of enabled_backends: images are read from the store of most weight.";
    DATADIR: ["glance_store"] "filesystem_store_datadir"
        old [("DEFAULT", "filesystem_store_datadir")],
        "<images in the state directory>",
        "Directory of the file store: one file for each image, named by its id.";
    DATADIRS: ["glance_store"] "filesystem_store_datadirs"
        old [("DEFAULT", "filesystem_store_datadirs")], "",
        "As filesystem_store_datadir; only one directory is possible.";
    FILE_PERM: ["glance_store"] "filesystem_store_file_perm" as Text
        old [("DEFAULT", "filesystem_store_file_perm")], "0",
        "Mode of those files, in octal; 0: 640.";
    THIN: ["glance_store"] "filesystem_thin_provisioning", "false",
        "Also turn runs of zero bytes in uploads into holes.";
    RBD_POOL: ["glance_store"] "rbd_store_pool" old [("DEFAULT", "rbd_store_pool")], "images",
        "Pool of the RBD store: one RBD image for each image, named by its id, with a snapshot snap.";
    RBD_USER: ["glance_store"] "rbd_store_user" old [("DEFAULT", "rbd_store_user")], "",
        "Ceph user without client. before it; empty: admin.";
    RBD_CONF: ["glance_store"] "rbd_store_ceph_conf" old [("DEFAULT", "rbd_store_ceph_conf")], "",
        "Ceph's configuration file; empty: where Ceph looks by itself, as /etc/ceph/ceph.conf.";
    RBD_CHUNK_SIZE: ["glance_store"] "rbd_store_chunk_size"
        old [("DEFAULT", "rbd_store_chunk_size")], "8",
        "Size of the objects of new RBD images, in MiB: a power of two, 32 at most.";
    RBD_DATA_POOL: ["glance_store"] "rbd_store_data_pool", "",
        "Pool for the data of new RBD images (an erasure-coded one, for example); empty: the same.";
    RBD_THIN: ["glance_store"] "rbd_thin_provisioning", "false",
        "Leave out runs of zero bytes in uploads.";
    RADOS_TIMEOUT: ["glance_store"] "rados_connect_timeout", "-1",
        "Seconds after which a read, write or anything else that Ceph does not answer fails; \
         -1: rados_osd_op_timeout of Ceph's configuration, else 30; 0: 600.";
    DISK_FORMATS: ["image_format"] "disk_formats" as List old [("DEFAULT", "disk_formats")],
        "ami,ari,aki,vhd,vhdx,vmdk,raw,qcow2,vdi,iso,ploop",
        "Values that disk_format may have.";
    CONTAINER_FORMATS: ["image_format"] "container_formats" as List old [("DEFAULT", "container_formats")],
        "ami,ari,aki,bare,ovf,ova,docker,compressed",
        "Values that container_format may have.";
    REQUIRE_FORMAT_MATCH: ["image_format"] "require_image_format_match", "true",
        "Refuse an upload whose bytes are not of the declared disk_format.";
    ALLOWED_SCHEMES: ["import_filtering_opts"] "allowed_schemes" as List, "[http,https]",
        "Schemes of URIs that web-download takes; only http and https are possible.";
    DISALLOWED_SCHEMES: ["import_filtering_opts"] "disallowed_schemes" as List, "",
        "With allowed_schemes = []: schemes that it does not take.";
    ALLOWED_HOSTS: ["import_filtering_opts"] "allowed_hosts" as List, "",
        "The only hosts that web-download asks, as [name, address]; empty: any with a public address.";
    DISALLOWED_HOSTS: ["import_filtering_opts"] "disallowed_hosts" as List, "",
        "Without allowed_hosts: hosts that it does not ask.";
    ALLOWED_PORTS: ["import_filtering_opts"] "allowed_ports" as List, "[80,443]",
        "Ports that web-download asks, whether the URI names them or not.";
    DISALLOWED_PORTS: ["import_filtering_opts"] "disallowed_ports" as List, "",
        "With allowed_ports = []: ports that it does not ask.";
    IMAGE_IMPORT_PLUGINS: ["image_import_opts"] "image_import_plugins" as List, "",
        "What is done to images that are imported, in this order, as [image_decompression, \
         image_conversion]; also inject_image_metadata and no_op.";
    OUTPUT_FORMAT: ["image_conversion"] "output_format", "raw",
        "What image_conversion makes of images: raw, qcow2 or vmdk; needs qemu-img.";
    INJECT: ["inject_metadata_properties"] "inject" as List, "",
        "Properties that inject_image_metadata sets, as name:value,name:value.";
    IGNORE_USER_ROLES: ["inject_metadata_properties"] "ignore_user_roles" as List, "admin",
        "Roles for whose images it does not.";
    PEER_PROPERTIES: ["glance_download_properties"] "extra_properties" as List,
        "hw_,trait:,os_distro,os_secure_boot,os_type",
        "With glance-download: properties that come along, by the beginnings of their names.";
    DISABLE_BY_FILE: ["healthcheck"] "disable_by_file_path", "",
        "While this file exists, /healthcheck answers 503, and so does OPTIONS /.";
    DISABLE_BY_FILES: ["healthcheck"] "disable_by_file_paths" as List, "",
        "The same for servers at one port each, as port:file,port:file.";
    HEALTH_DETAILS: ["healthcheck"] "detailed", "false",
        "Whether /healthcheck tells those who ask for JSON which stores answer.";
    WWW_AUTHENTICATE_URI: ["keystone_authtoken"] "www_authenticate_uri"
        old [("keystone_authtoken", "auth_uri")], "<auth_url>",
        "Where clients without a valid token are told to get one.";
    AUTH_URL: ["keystone_authtoken"] "auth_url" old [("keystone_authtoken", "identity_uri")], "",
        "Where Keystone is, as http://host:5000; needed with flavor keystone.";
    AUTH_TYPE: ["keystone_authtoken"] "auth_type" old [("keystone_authtoken", "auth_plugin")], "password",
        "How glancefs gets a token of its own: password, v3password or v3applicationcredential.";
    USERNAME: ["keystone_authtoken"] "username"
        old [("keystone_authtoken", "user-name"), ("keystone_authtoken", "user_name"), ("keystone_authtoken", "admin_user")], "",
        "The user that glancefs is to Keystone; it must be allowed to check tokens.";
    PASSWORD: ["keystone_authtoken"] "password" old [("keystone_authtoken", "admin_password")], "",
        "Its password.";
    USER_DOMAIN_ID: ["keystone_authtoken"] "user_domain_id", "",
        "Id of its domain.";
    USER_DOMAIN_NAME: ["keystone_authtoken"] "user_domain_name", "",
        "Name of its domain; without either, the domain of id default.";
    PROJECT_ID: ["keystone_authtoken"] "project_id" old [("keystone_authtoken", "tenant_id")], "",
        "Id of its project.";
    PROJECT_NAME: ["keystone_authtoken"] "project_name"
        old [("keystone_authtoken", "tenant-name"), ("keystone_authtoken", "tenant_name"), ("keystone_authtoken", "admin_tenant_name")], "",
        "Name of its project.";
    PROJECT_DOMAIN_ID: ["keystone_authtoken"] "project_domain_id", "",
        "Id of the project's domain.";
    PROJECT_DOMAIN_NAME: ["keystone_authtoken"] "project_domain_name", "",
        "Name of the project's domain; without either, the domain of id default.";
    SYSTEM_SCOPE: ["keystone_authtoken"] "system_scope", "",
        "all: its rights are for the system instead of a project.";
    APPLICATION_ID: ["keystone_authtoken"] "application_credential_id", "",
        "With v3applicationcredential: its id.";
    APPLICATION_SECRET: ["keystone_authtoken"] "application_credential_secret", "",
        "With v3applicationcredential: its secret.";
    AUTH_PROTOCOL: ["keystone_authtoken"] "auth_protocol", "https",
        "Without auth_url: http or https.";
    AUTH_HOST: ["keystone_authtoken"] "auth_host", "",
        "Without auth_url: the host where Keystone is.";
    AUTH_PORT: ["keystone_authtoken"] "auth_port", "35357",
        "Without auth_url: the port there.";
    INTERFACE: ["keystone_authtoken"] "interface", "internal",
        "Which endpoint of Keystone's own catalog is asked about tokens, where it has one: internal, public or admin.";
    REGION_NAME: ["keystone_authtoken"] "region_name", "",
        "In which region; empty: any.";
    CAFILE: ["keystone_authtoken"] "cafile", "",
        "Certificates (PEM) one of which must vouch for Keystone; empty: those of the system.";
    CERTFILE: ["keystone_authtoken"] "certfile", "",
        "Certificate (PEM) that glancefs shows to Keystone.";
    KEYFILE: ["keystone_authtoken"] "keyfile", "",
        "Private key of that certificate (PEM).";
    INSECURE: ["keystone_authtoken"] "insecure", "false",
        "Take Keystone's certificate for good whoever made it.";
    HTTP_CONNECT_TIMEOUT: ["keystone_authtoken"] "http_connect_timeout", "10",
        "Seconds that an answer of Keystone may take.";
    HTTP_REQUEST_MAX_RETRIES: ["keystone_authtoken"] "http_request_max_retries", "3",
        "How often a request to Keystone is tried again when it does not answer, waiting a little longer each time.";
    TOKEN_CACHE_TIME: ["keystone_authtoken"] "token_cache_time", "300",
        "Seconds for which a token that was found valid is not asked about again, at most until it expires; \
         one that was found invalid at most 10; -1: always ask.";
    SERVICE_TOKEN_ROLES: ["keystone_authtoken"] "service_token_roles" as List, "service",
        "Roles of which X-Service-Token must have one for its roles to count, and for the user's token \
         to be taken after it has expired.";
    STAGING_DATADIR: ["os_glance_staging_store"] "filesystem_store_datadir",
        "<node_staging_uri>",
        "With enabled_backends: the directory where data waits to be imported.";
    ENDPOINT_ID: ["oslo_limit"] "endpoint_id", "",
        "With use_keystone_limits: id of the Image API's endpoint in Keystone; how to reach Keystone, and as whom, is said in this section by the names of \
         keystone_authtoken: auth_url, username, password, project_name or system_scope and so on.";
    NOTIFICATION_DRIVER: ["oslo_messaging_notifications"] "driver" as List
        old [("DEFAULT", "notification_driver"), ("DEFAULT", "notifier_strategy")], "",
        "Where notifications go: messagingv2 (the bus), messaging (the same without oslo's envelope), log or noop; \
         several, between commas or by several such lines; empty: nowhere.";
    NOTIFICATION_URL: ["oslo_messaging_notifications"] "transport_url"
        old [("DEFAULT", "notification_transport_url")], "<transport_url of section DEFAULT>",
        "The bus for notifications alone.";
    NOTIFICATION_TOPICS: ["oslo_messaging_notifications"] "topics" as List
        old [("DEFAULT", "notification_topics"), ("rpc_notifier2", "topics"), ("DEFAULT", "rabbit_notification_topic")],
        "notifications", "What queues and routing keys begin with: notifications.info, notifications.error.";
    NOTIFICATION_RETRY: ["oslo_messaging_notifications"] "retry", "-1",
        "How often it is tried again to get a notification to the bus before it is given up; -1: for as long as it has room to wait.";
    AMQP_DURABLE_QUEUES: ["oslo_messaging_rabbit"] "amqp_durable_queues"
        old [("oslo_messaging_rabbit", "rabbit_durable_queues"), ("DEFAULT", "amqp_durable_queues"), ("DEFAULT", "rabbit_durable_queues")],
        "false", "Make exchanges and queues so that they survive the broker's restart.";
    AMQP_AUTO_DELETE: ["oslo_messaging_rabbit"] "amqp_auto_delete" old [("DEFAULT", "amqp_auto_delete")], "false",
        "Make exchanges and queues so that they go with their last user.";
    RABBIT_HA_QUEUES: ["oslo_messaging_rabbit"] "rabbit_ha_queues" old [("DEFAULT", "rabbit_ha_queues")], "false",
        "Make queues with x-ha-policy: all.";
    RABBIT_QUORUM_QUEUE: ["oslo_messaging_rabbit"] "rabbit_quorum_queue", "false",
        "Make quorum queues, which are durable.";
    RABBIT_DELIVERY_LIMIT: ["oslo_messaging_rabbit"] "rabbit_quorum_delivery_limit", "0",
        "With quorum queues: x-delivery-limit; 0: none.";
    RABBIT_MEMORY_LENGTH: ["oslo_messaging_rabbit"] "rabbit_quorum_max_memory_length"
        old [("oslo_messaging_rabbit", "rabbit_quroum_max_memory_length")], "0",
        "With quorum queues: x-max-in-memory-length; 0: none.";
    RABBIT_MEMORY_BYTES: ["oslo_messaging_rabbit"] "rabbit_quorum_max_memory_bytes"
        old [("oslo_messaging_rabbit", "rabbit_quroum_max_memory_bytes")], "0",
        "With quorum queues: x-max-in-memory-bytes; 0: none.";
    RABBIT_SSL: ["oslo_messaging_rabbit"] "ssl"
        old [("oslo_messaging_rabbit", "rabbit_use_ssl"), ("DEFAULT", "rabbit_use_ssl")], "false",
        "Speak TLS with the bus.";
    RABBIT_CA_FILE: ["oslo_messaging_rabbit"] "ssl_ca_file"
        old [("oslo_messaging_rabbit", "kombu_ssl_ca_certs"), ("DEFAULT", "kombu_ssl_ca_certs")], "",
        "Certificates (PEM) one of which must vouch for the bus; empty: those of the system (Glance: anybody may then pose as it).";
    RABBIT_CERT_FILE: ["oslo_messaging_rabbit"] "ssl_cert_file"
        old [("oslo_messaging_rabbit", "kombu_ssl_certfile"), ("DEFAULT", "kombu_ssl_certfile")], "",
        "Certificate (PEM) that glancefs shows to the bus.";
    RABBIT_KEY_FILE: ["oslo_messaging_rabbit"] "ssl_key_file"
        old [("oslo_messaging_rabbit", "kombu_ssl_keyfile"), ("DEFAULT", "kombu_ssl_keyfile")], "",
        "Private key of that certificate (PEM).";
    RABBIT_HEARTBEAT: ["oslo_messaging_rabbit"] "heartbeat_timeout_threshold", "60",
        "Seconds without a sign of life after which the bus is taken for dead; 0: never.";
    RABBIT_RETRY_INTERVAL: ["oslo_messaging_rabbit"] "rabbit_retry_interval" old [("DEFAULT", "rabbit_retry_interval")], "1",
        "Seconds before the bus is tried again when it cannot be reached.";
    RABBIT_RETRY_BACKOFF: ["oslo_messaging_rabbit"] "rabbit_retry_backoff" old [("DEFAULT", "rabbit_retry_backoff")], "2",
        "Seconds by which that becomes more each time.";
    RABBIT_INTERVAL_MAX: ["oslo_messaging_rabbit"] "rabbit_interval_max" old [("DEFAULT", "rabbit_retry_max_backoff")], "30",
        "Seconds that it becomes at most.";
    RABBIT_HOSTS: ["oslo_messaging_rabbit"] "rabbit_hosts" as List old [("DEFAULT", "rabbit_hosts")], "",
        "Without transport_url: the brokers, as host:port; empty: rabbit_host.";
    RABBIT_HOST: ["oslo_messaging_rabbit"] "rabbit_host" old [("DEFAULT", "rabbit_host")], "localhost",
        "Without transport_url and rabbit_hosts: the broker.";
    RABBIT_PORT: ["oslo_messaging_rabbit"] "rabbit_port" old [("DEFAULT", "rabbit_port")], "5672",
        "Without transport_url: the port of brokers that are named without one.";
    RABBIT_USERID: ["oslo_messaging_rabbit"] "rabbit_userid" old [("DEFAULT", "rabbit_userid")], "guest",
        "Without transport_url: the user.";
    RABBIT_PASSWORD: ["oslo_messaging_rabbit"] "rabbit_password" old [("DEFAULT", "rabbit_password")], "guest",
        "Without transport_url: its password.";
    RABBIT_VIRTUAL_HOST: ["oslo_messaging_rabbit"] "rabbit_virtual_host" old [("DEFAULT", "rabbit_virtual_host")], "/",
        "Without transport_url: the virtual host.";
    PROXY_HEADERS: ["oslo_middleware"] "enable_proxy_headers_parsing", "false",
        "A proxy stands in front: believe its Forwarded, X-Forwarded-Proto, -Host and -Prefix.";
    FLAVOR: ["paste_deploy"] "flavor", "",
        "keystone, also with +caching or +cachemanagement: every request needs a token; empty: no authentication.";
    TASK_TIME_TO_LIVE: ["task"] "task_time_to_live" old [("DEFAULT", "task_time_to_live")], "48",
        "Hours that a task is remembered after it has ended.";
    POLICY_FILE: ["oslo_policy"] "policy_file" old [("DEFAULT", "policy_file")],
        "<policy.yaml beside the configuration file, if there is one>",
        "Rules of who may do what where they are not to be the default ones; relative paths begin \
         beside the configuration file.";
    POLICY_DIRS: ["oslo_policy"] "policy_dirs" old [("DEFAULT", "policy_dirs")], "policy.d",
        "Directories with further such files, read in the order of their names.";
    ENFORCE_NEW_DEFAULTS: ["oslo_policy"] "enforce_new_defaults", "true",
        "Has no effect: today's default rules hold where no file has others.";
    ENFORCE_SCOPE: ["oslo_policy"] "enforce_scope", "true",
        "Has no effect: an identity is that of a project, or the operator's.";
    STATE_DIR: ["glancefs"] "state_dir",
        "</var/lib/glancefs for root, else glancefs in $XDG_STATE_HOME or ~/.local/state>",
        "Directory of everything that outlives the program; --state-dir wins.";
    MOUNT_PROJECT: ["glancefs"] "mount_project", "",
        "Project that the mount acts as, and the API without authentication; empty: the operator, who sees all; --project wins.";
    MOUNT_ROLES: ["glancefs"] "mount_roles" as List, "",
        "Roles that they have in that project, as member, reader; empty: member, and all of them without a project.";
    UID_MAP: ["glancefs"] "uid_map" as List, "",
        "Whom each user of this machine acts as, with -o allow_other, as alice:project:member, @ops:*:admin.";
    UNMAPPED: ["glancefs"] "unmapped", "public",
        "With uid_map, what users see who are not in it: public (images for everybody, to read) or deny (nothing).";
    BLOCK_CACHE_SIZE: ["glancefs"] "block_cache_size" as Integer,
        "<256 MiB, or a quarter of the memory that the control group may use if that is less>",
        "Bytes of RBD images that are kept in memory, those on their way included.";
    LOG_FORMAT: ["glancefs"] "log_format", "",
        "text or json; empty: as use_json says; --log-format wins.";
    METRICS_LISTEN: ["glancefs"] "metrics_listen", "",
        "address:port where /metrics answers Prometheus; empty: nowhere.";
    NOTIFICATION_FILE: ["glancefs"] "notification_file", "",
        "File that every notification is appended to as a line of JSON, whatever driver says; empty: none.";
    NOTIFICATION_WEBHOOK: ["glancefs"] "notification_webhook", "",
        "URL that every notification is POSTed to as JSON, whatever driver says; empty: none.";
    NOTIFICATION_BACKLOG: ["glancefs"] "notification_backlog", "10000",
        "Notifications that may wait for the bus, and as many for the file and the webhook; further ones are dropped.";
    WEB_DOWNLOAD_NETWORKS: ["glancefs"] "web_download_networks" as List, "",
        "Networks or addresses that web-download may ask although they are not public, as \
         10.0.0.0/8, fd00::/8; empty: none.";
    MAX_UPLOADS: ["glancefs"] "max_uploads", "64",
        "Uploads that may be in progress at once, by the API and by the mount together.";
    MAX_IMPORTS: ["glancefs"] "max_imports", "4",
        "Imports at once; further ones wait.";
    IMPORT_TIMEOUT: ["glancefs"] "import_timeout", "86400",
        "Seconds that an import may take before it is given up.";
    GIVE_UP_UPLOADS_AFTER: ["glancefs"] "give_up_uploads_after", "172800",
        "Seconds after which an upload that nobody goes on with is given up, whoever began it, because its \
         record has not changed: its data goes, and the image is queued again; 0: never.";
    PURGE_TRASH_AFTER: ["glancefs"] "purge_trash_after", "",
        "For how long what glancefs moved to the trash of a Ceph pool, because others had snapshots of it, stays there at least, as 30d or 12h: then it is removed with \
         those snapshots unless one has clones; empty: for ever.";
}

#[cfg(test)]
mod tests {
    use super::super::ineffective::known_to_glance;
    use super::*;

    #[test]
    fn a_kind_is_that_of_the_default_unless_it_is_said() {
        assert_eq!((DEBUG.kind, BIND_PORT.kind), (Kind::Boolean, Kind::Integer));
        assert_eq!((RADOS_TIMEOUT.kind, USER_STORAGE_QUOTA.kind), (Kind::Integer, Kind::Text));
        assert_eq!((STORES.kind, BIND_HOST.kind), (Kind::List, Kind::Text));
    }

    #[test]
    fn no_spelling_means_two_options() {
        let mut seen = std::collections::HashSet::new();
        for option in OPTIONS {
            for name in option.names() {
                assert!(seen.insert(name), "{name:?} is listed twice");
                assert!(!known_to_glance(name.0, name.1), "{name:?} has an effect");
            }
        }
    }
}

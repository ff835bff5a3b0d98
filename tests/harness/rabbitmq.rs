//! A real RabbitMQ for a test, with a user whose password is hard to write in a URL, a virtual host of
//! the same kind, and somebody who reads what is in its queues.

// No test binary needs all of it.
#![allow(dead_code)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lapin::options::BasicGetOptions;
use lapin::uri::{AMQPAuthority, AMQPUri, AMQPUserInfo};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use rustix::process::Pid;
use serde_json::{Value, json};

use super::DEADLINE;

const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const USER: &str = "glance";
/// What is said to be hard to write in a URL.
const PASSWORD: &str = "p@ss:w/rd%,";
/// The name and password of another user.
const PLAIN: &str = "plain";
const VIRTUAL_HOST: &str = "cloud/one";
/// What there is of both in a RabbitMQ that somebody has just installed, password included.
const GUEST: &str = "guest";
const FIRST_VIRTUAL_HOST: &str = "/";

/// A running RabbitMQ, alone in a cluster of its own.
pub struct RabbitMq {
    directory: tempfile::TempDir,
    port: u16,
    tls_port: u16,
    distribution_port: u16,
    epmd_port: u16,
    /// Where queues are read.
    virtual_host: &'static str,
    guard: Option<(Child, ChildStdin)>,
}

/// A message as it was in a queue.
#[derive(Debug)]
pub struct Delivered {
    pub properties: BasicProperties,
    pub exchange: String,
    pub body: Value,
}

impl Delivered {
    /// What is in oslo's envelope.
    pub fn message(&self) -> Value {
        assert_eq!(self.body["oslo.version"], "2.0");
        serde_json::from_str(self.body["oslo.message"].as_str().unwrap()).unwrap()
    }
}

impl RabbitMq {
    /// Starts one.
    pub fn start() -> Self {
        let mut rabbit = Self::prepare();
        rabbit.start_again();
        rabbit
    }

    /// Starts one, to be used as if it had just been installed: by `guest`, in the virtual host `/`.
    pub fn as_installed() -> Self {
        let mut rabbit = Self::prepare();
        rabbit.virtual_host = FIRST_VIRTUAL_HOST;
        rabbit.start_again();
        rabbit
    }

    /// One that does not run yet.
    pub fn prepare() -> Self {
        let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
        let [port, tls_port, distribution_port, epmd_port] = [(); 4].map(|()| free_port());
        let (virtual_host, guard) = (VIRTUAL_HOST, None);
        let rabbit =
            Self { directory, port, tls_port, distribution_port, epmd_port, virtual_host, guard };
        rabbit.configure();
        rabbit
    }

    fn configure(&self) {
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        let users = [(USER, PASSWORD), (PLAIN, PLAIN), (GUEST, GUEST)];
        let allowed = [
            (USER, VIRTUAL_HOST),
            (PLAIN, VIRTUAL_HOST),
            (USER, FIRST_VIRTUAL_HOST),
            (GUEST, FIRST_VIRTUAL_HOST),
        ];
        let permissions = allowed.map(|(user, virtual_host)| {
            let mut permission = json!({"user": user, "vhost": virtual_host});
            permission.as_object_mut().unwrap().extend(all.as_object().unwrap().clone());
            permission
        });
        let definitions = json!({
            "users": users.map(|(name, password)| {
                json!({"name": name, "password": password, "tags": ""})
            }),
            "vhosts": [{"name": VIRTUAL_HOST}, {"name": FIRST_VIRTUAL_HOST}],
            "permissions": permissions,
        });
        fs::write(self.path("definitions.json"), definitions.to_string()).unwrap();
        let tls =
            |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name);
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\n\
             listeners.ssl.1 = 127.0.0.1:{}\n\
             ssl_options.cacertfile = {}\n\
             ssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\n\
             load_definitions = {}\n",
            self.port,
            self.tls_port,
            tls("authority.pem").display(),
            tls("server.pem").display(),
            tls("server.key").display(),
            self.path("definitions.json").display(),
        );
        fs::write(self.path("rabbitmq.conf"), config).unwrap();
        fs::write(self.path("plugins"), "[].\n").unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the broker that was not started or was killed; durable queues are still there.
    pub fn start_again(&mut self) {
        // Ends both when the pipe closes, however this process ends; the server is a group of processes.
        let script = r#"
            epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 & epmd=$!
            setsid "$1" & server=$!
            read -r _
            kill -KILL $epmd -$server
            wait"#;
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut guard = Command::new("sh")
            .args(["-c", script, "sh", PROGRAM])
            .env("HOME", self.directory.path())
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("RABBITMQ_NODENAME", "test@localhost")
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", self.path("mnesia"))
            .env("RABBITMQ_LOG_BASE", self.path("logs"))
            .env("RABBITMQ_CONFIG_FILE", self.path("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.path("plugins"))
            .env("RABBITMQ_PID_FILE", self.path("pid"))
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let pipe = guard.stdin.take().unwrap();
        self.guard = Some((guard, pipe));
        let until = Instant::now() + 2 * DEADLINE;
        while let Err(error) = self.try_read(&[]) {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(Instant::now() < until, "{error}\n{log}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some((mut guard, pipe)) = self.guard.take() {
            drop(pipe);
            let _ = guard.wait();
        }
    }

    /// The broker's process.
    pub fn process(&self) -> Pid {
        let pid = fs::read_to_string(self.path("pid")).unwrap();
        Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
    }

    /// The port of AMQP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of AMQP over TLS.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// `transport_url` for a broker at a place (`host:port`), with the user and the virtual host of this.
    pub fn url_at(&self, place: &str) -> String {
        let user = format!("{USER}:p%40ss%3Aw%2Frd%25%2C");
        format!("rabbit://{user}@{place}/cloud%2Fone")
    }

    /// `transport_url`
    pub fn url(&self) -> String {
        self.url_at(&format!("127.0.0.1:{}", self.port))
    }

    /// `transport_url` that oslo.messaging, too, takes apart as it is meant: of a user with a simple password.
    pub fn plain_url(&self) -> String {
        format!("rabbit://{PLAIN}:{PLAIN}@127.0.0.1:{}/cloud%2Fone", self.port)
    }

    /// Takes what is in a queue now.
    pub fn read(&self, queue: &str) -> Vec<Delivered> {
        self.try_read(&[queue]).unwrap()
    }

    /// Takes what is in a queue until a message fits; gives all of them.
    #[track_caller]
    pub fn read_until(&self, queue: &str, fits: impl Fn(&Value) -> bool) -> Vec<Delivered> {
        let until = Instant::now() + 2 * DEADLINE;
        let mut all = Vec::new();
        loop {
            // There is none before somebody writes to it.
            all.extend(self.try_read(&[queue]).unwrap_or_default());
            if all.iter().any(|delivered| fits(&delivered.message())) {
                return all;
            }
            let seen: Vec<_> = all.iter().map(|m| m.message()["event_type"].clone()).collect();
            assert!(Instant::now() < until, "still not in {queue}: {seen:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn try_read(&self, queues: &[&str]) -> Result<Vec<Delivered>, String> {
        let mut read = Vec::new();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let reading = async {
            // Taking leave may take for ever when the broker has ended a channel.
            tokio::time::timeout(Duration::from_secs(5), self.read_into(queues, &mut read)).await
        };
        let outcome = runtime.block_on(reading);
        runtime.shutdown_background();
        match outcome {
            // What was taken is in no queue any more.
            _ if !read.is_empty() => Ok(read),
            Ok(Ok(())) => Ok(read),
            Ok(Err(error)) => Err(error.to_string()),
            Err(late) => Err(late.to_string()),
        }
    }

    async fn read_into(&self, queues: &[&str], read: &mut Vec<Delivered>) -> lapin::Result<()> {
        let userinfo = AMQPUserInfo { username: USER.to_string(), password: PASSWORD.to_string() };
        let host = "127.0.0.1".to_string();
        let uri = AMQPUri {
            authority: AMQPAuthority { userinfo, host, port: self.port },
            vhost: self.virtual_host.to_string(),
            ..AMQPUri::default()
        };
        let connection = Connection::connect_uri(uri, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        for queue in queues {
            take(&channel, queue, read).await?;
        }
        Ok(())
    }
}

async fn take(channel: &Channel, queue: &str, read: &mut Vec<Delivered>) -> lapin::Result<()> {
    let options = BasicGetOptions { no_ack: true };
    while let Some(got) = channel.basic_get(queue.into(), options).await? {
        let delivery = got.delivery;
        read.push(Delivered {
            properties: delivery.properties,
            exchange: delivery.exchange.to_string(),
            body: serde_json::from_slice(&delivery.data).unwrap(),
        });
    }
    Ok(())
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

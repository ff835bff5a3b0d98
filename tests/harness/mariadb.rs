//! A real MariaDB for tests, with a database for each.
//!
//! Within scripts/test all tests share one server: the first that wants it starts it, below TMPDIR,
//! and scripts/test ends it with all that is left.  Elsewhere each test process has its own.

// No test binary needs all of it.
#![allow(dead_code)]

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};

/// What is said to be hard to write in a URL.
pub const PASSWORD: &str = "p@ss:w/rd%";
const IN_URL: &str = "p%40ss%3Aw%2Frd%25";

/// A running server.
pub struct Server {
    directory: PathBuf,
    port: u16,
    /// Ends the server when this process ends, unless the server is everybody's.
    guard: Option<(Child, ChildStdin)>,
    /// Removed last.
    _scratch: Option<tempfile::TempDir>,
}

impl Server {
    /// The one that tests share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var_os("GLANCEFS_TEST_RUN") {
            Some(run) => Self::of_all(Path::new(&run)),
            None => Self::start(&[]),
        })
    }

    /// The one below a directory, started if nobody did yet.
    #[expect(clippy::zombie_processes, reason = "it outlives the process that starts it")]
    fn of_all(run: &Path) -> Self {
        let directory = run.join("mariadb");
        fs::create_dir_all(&directory).unwrap();
        let lock = File::create(directory.join("lock")).unwrap();
        lock.lock().unwrap();
        let noted = directory.join("port");
        if let Ok(port) = fs::read_to_string(&noted) {
            let port = port.parse().unwrap();
            return Self { directory, port, guard: None, _scratch: None };
        }
        let mut server = Self { directory, port: free_port(), guard: None, _scratch: None };
        server.install();
        let mut command = server.command(&[]);
        // Whoever started the test may end it with all of its group.
        command.process_group(0).spawn().unwrap();
        server.await_start();
        fs::write(noted, server.port.to_string()).unwrap();
        server
    }

    /// One of its own, with these further options.
    pub fn start(options: &[&str]) -> Self {
        let scratch = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
        let directory = scratch.path().to_path_buf();
        let mut server =
            Self { directory, port: free_port(), guard: None, _scratch: Some(scratch) };
        server.install();
        server.start_again(options);
        server
    }

    /// Starts the server that was stopped.
    pub fn start_again(&mut self, options: &[&str]) {
        // Ends the server when the pipe closes, however this process ends.
        let server = self.command(options);
        let mut guard = Command::new("sh")
            .args(["-c", r#""$@" & server=$!; read -r _; kill -KILL $server; wait"#, "sh"])
            .arg(server.get_program())
            .args(server.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pipe = guard.stdin.take().unwrap();
        self.guard = Some((guard, pipe));
        self.await_start();
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some((mut guard, mut pipe)) = self.guard.take() {
            let _ = pipe.write_all(b"\n");
            let _ = guard.wait();
        }
    }

    fn install(&mut self) {
        fs::create_dir(self.temporary()).unwrap();
        let made = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(["--skip-name-resolve", "--innodb-log-file-size=8M"])
            .args(as_root())
            .arg(format!("--datadir={}", self.directory.join("data").display()))
            .env("TMPDIR", self.temporary())
            .output()
            .unwrap_or_else(|error| panic!("mariadb-install-db: {error}"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// As fast as a server gets that nobody will miss.
    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new("mariadbd");
        command
            .args(["--no-defaults", "--skip-log-bin", "--skip-name-resolve"])
            .args(["--performance-schema=OFF", "--bind-address=127.0.0.1"])
            .args(["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"])
            .args(["--innodb-buffer-pool-size=256M", "--innodb-log-file-size=8M"])
            .args(["--innodb-flush-method=nosync", "--max-connections=1000"])
            .args(as_root())
            .args(options)
            .arg(format!("--port={}", self.port))
            .arg(format!("--datadir={}", self.directory.join("data").display()))
            .arg(format!("--tmpdir={}", self.temporary().display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", self.directory.join("pid").display()))
            .arg(format!("--log-error={}", self.directory.join("log").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn await_start(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = self.try_connect("") {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{error}\n{log}");
            thread::sleep(Duration::from_millis(20));
        }
        self.run(&format!(
            "CREATE USER IF NOT EXISTS glance@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; \
             GRANT ALL ON *.* TO glance@'127.0.0.1'"
        ));
    }

    /// A server that starts removes temporary tables, whosesoever they are.
    fn temporary(&self) -> PathBuf {
        self.directory.join("tmp")
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A database's URL, as glance-api.conf has it.
    pub fn url(&self, database: &str) -> String {
        format!("mysql+pymysql://glance:{IN_URL}@127.0.0.1:{}/{database}?charset=utf8", self.port)
    }

    /// A connection as the administrator's.
    pub fn connect(&self, database: &str) -> Conn {
        self.try_connect(database).unwrap()
    }

    fn try_connect(&self, database: &str) -> mysql::Result<Conn> {
        let options = OptsBuilder::new()
            .socket(Some(self.socket().display().to_string()))
            .user(Some("root"))
            .db_name(Some(database).filter(|name| !name.is_empty()));
        Conn::new(options)
    }

    /// Runs statements as the administrator.
    pub fn run(&self, statements: &str) {
        let mut connection = self.connect("");
        for statement in statements.split("; ") {
            connection.query_drop(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    /// Makes an empty database of a new name.
    pub fn new_database(&self) -> String {
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        self.run(&format!("CREATE DATABASE {name}"));
        name
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn as_root() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("--user=root")
}

//! The database of a test: SQLite, or with `GLANCEFS_TEST_CATALOG=mysql` one on a MariaDB; and what
//! another program would do to it.

// No test binary needs all of it.
#![allow(dead_code)]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use glancefs::catalog::database::{Database, Place};
use glancefs::catalog::mysql::server::Server as Address;
use mysql::prelude::Queryable;
use rusqlite::types::ValueRef;

use super::mariadb::Server;

/// Whether tests are to run on a server.
pub fn is_on_server() -> bool {
    match std::env::var("GLANCEFS_TEST_CATALOG").as_deref() {
        Ok("mysql") => true,
        Ok(other) if other != "sqlite" => panic!("GLANCEFS_TEST_CATALOG={other}"),
        _ => false,
    }
}

/// A database on the shared server, as its URL says.
pub fn on_server(name: &str) -> Database {
    at(&Server::shared().url(name))
}

/// The database at a URL.
pub fn at(url: &str) -> Database {
    let server = Address::parse(url).unwrap();
    Database { place: Place::Server(Box::new(server)), location_key: None }
}

/// The database of the test whose files are below `directory`.
pub fn of(directory: &Path) -> Database {
    if !is_on_server() {
        return Database::file(directory.join("glance.sqlite"));
    }
    let mut hash = DefaultHasher::new();
    directory.hash(&mut hash);
    let name = format!("d{:016x}", hash.finish());
    Server::shared().run(&format!("CREATE DATABASE IF NOT EXISTS {name}"));
    on_server(&name)
}

/// Makes Glance's tables, as one has them who gave them all of Unicode.
pub fn make_wide_tables(database: &Database) {
    let mut raw = Raw::to(database);
    let tables = include_str!("../../src/catalog/mysql/schema.sql");
    for statement in tables.replace("CHARSET=utf8", "CHARSET=utf8mb4").split_inclusive(";\n") {
        raw.execute(statement.trim().trim_end_matches(';'), &[]);
    }
    raw.execute("INSERT INTO alembic_version VALUES ('2024_1_contract01')", &[]);
}

/// A connection as another program would make it.
pub enum Raw {
    File(rusqlite::Connection),
    Server(Box<mysql::Conn>),
}

impl Raw {
    /// To this database.
    pub fn to(database: &Database) -> Self {
        match &database.place {
            Place::File(path) => {
                let connection = rusqlite::Connection::open(path).unwrap();
                connection.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
                Self::File(connection)
            }
            Place::Server(server) => {
                let options = mysql::OptsBuilder::new()
                    .ip_or_hostname(Some(server.host.clone()))
                    .tcp_port(server.port)
                    .user(Some(server.user.clone()))
                    .pass(server.password.as_ref().map(|password| password.reveal().to_string()))
                    .db_name(Some(server.database.clone()))
                    .additional_capabilities(mysql::consts::CapabilityFlags::CLIENT_FOUND_ROWS);
                Self::Server(Box::new(mysql::Conn::new(options).unwrap()))
            }
        }
    }

    /// Runs one statement, with a text or NULL for each `?`; says how many rows it was about.
    #[track_caller]
    pub fn execute(&mut self, sql: &str, values: &[Option<&str>]) -> u64 {
        match self {
            Self::File(connection) => {
                let mut statement = connection.prepare_cached(sql).unwrap();
                statement.execute(rusqlite::params_from_iter(values)).unwrap() as u64
            }
            Self::Server(connection) => {
                connection.exec_drop(sql, params(values)).unwrap();
                connection.affected_rows()
            }
        }
    }

    /// The rows that a statement finds, as texts.
    #[track_caller]
    pub fn rows(&mut self, sql: &str, values: &[Option<&str>]) -> Vec<Vec<Option<String>>> {
        match self {
            Self::File(connection) => {
                let mut statement = connection.prepare(sql).unwrap();
                let columns = statement.column_count();
                let found = statement.query_map(rusqlite::params_from_iter(values), |row| {
                    (0..columns).map(|at| row.get_ref(at).map(text)).collect()
                });
                found.unwrap().map(Result::unwrap).collect()
            }
            Self::Server(connection) => {
                let rows: Vec<mysql::Row> = connection.exec(sql, params(values)).unwrap();
                let read = |value| mysql::from_value::<Option<String>>(as_text(value));
                rows.into_iter().map(|row| row.unwrap().into_iter().map(read).collect()).collect()
            }
        }
    }

    /// Runs several statements, with a semicolon at the end of each.
    #[track_caller]
    pub fn batch(&mut self, statements: &str) {
        match self {
            Self::File(connection) => connection.execute_batch(statements).unwrap(),
            Self::Server(connection) => {
                connection.query_iter(statements).unwrap().for_each(drop);
            }
        }
    }

    /// The one integer that `sql` answers.
    #[track_caller]
    pub fn number(&mut self, sql: &str) -> i64 {
        self.rows(sql, &[])[0][0].as_deref().unwrap().parse().unwrap()
    }

    /// Many statements as one transaction.
    #[track_caller]
    pub fn together(&mut self, work: impl FnOnce(&mut Self)) {
        self.execute("BEGIN", &[]);
        work(self);
        self.execute("COMMIT", &[]);
    }
}

fn params(values: &[Option<&str>]) -> mysql::Params {
    match values {
        [] => mysql::Params::Empty,
        values => mysql::Params::Positional(values.iter().map(|value| (*value).into()).collect()),
    }
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        other => panic!("{other:?}"),
    }
}

fn as_text(value: mysql::Value) -> mysql::Value {
    match value {
        mysql::Value::Int(number) => number.to_string().into(),
        mysql::Value::UInt(number) => number.to_string().into(),
        date @ mysql::Value::Date(..) => date.as_sql(true).trim_matches('\'').into(),
        other => other,
    }
}

//! `[database]`: where the catalog is, and how its server is talked to.

use std::path::Path;
use std::time::Duration;

use super::absolute;
use super::options::{self, ConfigOption};
use super::reader::{Found, Reader, bad_value};
use crate::catalog::database::{Database, Place};
use crate::catalog::location_key::LocationKey;
use crate::catalog::mysql::server::Server;
use crate::error::{Error, Result};

const WANTED: &str =
    "write sqlite:////absolute/path (four slashes) or mysql+pymysql://user:password@host/database";

/// Reads the options.  What they say about a server is read only for one.
pub(super) fn database(reader: &mut Reader, state_dir: &Path) -> Result<Database> {
    let key = reader.word(&options::METADATA_ENCRYPTION_KEY)?;
    let location_key = key.map(LocationKey::new).transpose()?;
    Ok(Database { place: place(reader, state_dir)?, location_key })
}

fn place(reader: &mut Reader, state_dir: &Path) -> Result<Place> {
    let Some(found) = reader.text(&options::CONNECTION)?.filter(|f| !f.text.trim().is_empty())
    else {
        return Ok(Place::File(state_dir.join("glance.sqlite")));
    };
    let url = found.text.trim();
    if Server::is_meant(url) {
        return server(reader, &found).map(|server| Place::Server(Box::new(server)));
    }
    let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
    let wrong = || bad_value(&options::CONNECTION, Some(&found), WANTED);
    if scheme.split('+').next() != Some("sqlite") {
        return Err(wrong());
    }
    let path = rest.split('?').next().unwrap_or_default();
    match path.strip_prefix('/') {
        Some(path) if !path.is_empty() && path != ":memory:" => absolute(path).map(Place::File),
        _ => Err(wrong()),
    }
}

fn server(reader: &mut Reader, found: &Found) -> Result<Server> {
    let mut server = Server::parse(found.text.trim()).map_err(|error| match error {
        Error::Config(why) => bad_value(&options::CONNECTION, Some(found), &why),
        other => other,
    })?;
    // -1 stands for "never", "for ever" and "any number" in all of these.
    let number = |reader: &mut Reader, option: &ConfigOption| {
        reader.integer(option, -1..=i32::MAX.into()).map(|number| u32::try_from(number).ok())
    };
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    server.recycle = number(reader, &options::CONNECTION_RECYCLE_TIME)?.map(seconds);
    server.max_retries = number(reader, &options::MAX_RETRIES)?;
    server.retry_interval =
        number(reader, &options::RETRY_INTERVAL)?.map_or(Duration::ZERO, seconds);
    let connections =
        |most: Option<u32>| most.map_or(Server::MOST_CONNECTIONS, |most| most as usize);
    server.max_pool_size = match number(reader, &options::MAX_POOL_SIZE)? {
        // oslo.db: 0 is no limit, too.
        Some(0) => Server::MOST_CONNECTIONS,
        most => connections(most),
    };
    server.max_overflow = connections(number(reader, &options::MAX_OVERFLOW)?);
    server.wsrep_sync_wait = match reader.word(&options::MYSQL_WSREP_SYNC_WAIT)? {
        Some(_) => number(reader, &options::MYSQL_WSREP_SYNC_WAIT)?,
        None => None,
    };
    Ok(server)
}

//! An image's record and the types of its fields.  Glance: table `images` and those around it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::identity::ProjectId;

/// An image's id: a UUID in its usual written form, kept with the case it was given
/// (Glance compares ids as text).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId([u8; 36]);

impl ImageId {
    /// A new random id.
    pub fn random() -> Self {
        let mut text = [0; 36];
        uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever stored; an empty text could not be confused with an id.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The first eight characters: what tells two images of one name apart in a listing.
    pub fn short(&self) -> &str {
        &self.as_str()[..8]
    }
}

impl FromStr for ImageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::Invalid(format!("'{text}' is not an image id (a UUID)"));
        let bytes: [u8; 36] = text.as_bytes().try_into().map_err(|_| invalid())?;
        let well_formed = bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
        if well_formed { Ok(Self(bytes)) } else { Err(invalid()) }
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Declares an enum whose variants are words in the database and on the wire.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word for it in the database and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(word: &str) -> Result<Self> {
                match word {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(Error::Invalid(format!(
                        concat!("'{}' is not a ", stringify!($name), "; one of: {}"),
                        word,
                        [$($word,)*].join(", "),
                    ))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(super) use words;

words! {
    /// Where an image is in its life.  Glance: `images.status`.
    Status {
        /// A record without data.
        Queued = "queued",
        /// Data is being written.
        Saving = "saving",
        /// Data is being staged for an import.
        Uploading = "uploading",
        /// Staged data is being imported.
        Importing = "importing",
        /// Data is complete and will never change.
        Active = "active",
        /// Complete, but only an administrator may read it.
        Deactivated = "deactivated",
        /// An upload by the v1 API failed.
        Killed = "killed",
        /// Gone.
        Deleted = "deleted",
        /// Gone, with data still to be removed.
        PendingDelete = "pending_delete",
    }
}

impl Status {
    /// Statuses in which the image has data that can be shown as a file.
    pub const WITH_DATA: &'static [Self] = &[Self::Active, Self::Deactivated];
    /// Statuses of an image that is there (not deleted).
    pub const THERE: &'static [Self] = &[
        Self::Queued,
        Self::Saving,
        Self::Uploading,
        Self::Importing,
        Self::Active,
        Self::Deactivated,
        Self::Killed,
    ];

    /// Whether the image has data.
    pub fn has_data(self) -> bool {
        Self::WITH_DATA.contains(&self)
    }
}

words! {
    /// What a project makes of an image that is shared with it.  Glance: `image_members.status`.
    MemberStatus {
        /// It has not answered yet.
        Pending = "pending",
        /// It took the image into its listing.
        Accepted = "accepted",
        /// It does not want it.
        Rejected = "rejected",
    }
}

words! {
    /// Who may see an image.  Glance: `images.visibility`.
    Visibility {
        /// Everybody, without authentication by membership.
        Public = "public",
        /// Everybody who asks for it; not in default listings of others.
        Community = "community",
        /// The owner and accepted members.
        Shared = "shared",
        /// The owner.
        Private = "private",
    }
}

/// A moment, in microseconds since 1970 (UTC): the precision of Glance's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        let passed = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(passed.as_micros().try_into().unwrap_or(i64::MAX))
    }
}

impl Timestamp {
    /// The last second that can be written: a day before the year 10000.
    pub const LAST: Self = Self(253_402_207_200_000_000);

    /// Now.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_microsecond())
    }

    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Reads `2026-11-21 01:02:03[.123456]` or RFC 3339, as UTC when no zone is given.
    pub fn parse(text: &str) -> Option<Self> {
        // A catalog's own form is tried first: it is read twice for every image.
        let own_form = text.as_bytes().get(10) == Some(&b' ')
            && text.bytes().skip(11).all(|byte| matches!(byte, b'0'..=b'9' | b':' | b'.'));
        if !own_form && let Ok(instant) = text.parse::<jiff::Timestamp>() {
            return Some(Self(instant.as_microsecond()));
        }
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        Some(Self(jiff::tz::Offset::UTC.to_timestamp(civil).ok()?.as_microsecond()))
    }

    /// From a date, a time of day (UTC) and microseconds; `None` when there is no such moment.
    pub fn from_civil(date: (u16, u8, u8), time: (u8, u8, u8), micros: u32) -> Option<Self> {
        let small = |number: u8| i8::try_from(number).ok();
        let civil = jiff::civil::DateTime::new(
            i16::try_from(date.0).ok()?,
            small(date.1)?,
            small(date.2)?,
            small(time.0)?,
            small(time.1)?,
            small(time.2)?,
            i32::try_from(micros).ok()?.checked_mul(1000)?,
        );
        let instant = jiff::tz::Offset::UTC.to_timestamp(civil.ok()?).ok()?;
        Some(Self(instant.as_microsecond()))
    }

    fn civil(self) -> jiff::civil::DateTime {
        let instant = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MIN);
        jiff::tz::TimeZone::UTC.to_datetime(instant)
    }

    /// As SQLAlchemy writes a DATETIME into SQLite: `2026-11-21 01:02:03.123456`.
    pub fn to_database(self) -> String {
        let t = self.civil();
        format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            t.subsec_nanosecond() / 1000
        )
    }

    /// As the Image API shows it: `2026-11-21T01:02:03Z`, cut to the second.
    pub fn to_wire(self) -> String {
        let t = self.civil();
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second()
        )
    }
}

/// Where a copy of an image's data is.  Glance: table `image_locations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// `file:///…` or `rbd://…`.
    pub url: String,
    /// Glance keeps the store's name here, under `store`.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// `active`, `pending_delete` or `deleted`.
    pub status: String,
}

impl Location {
    /// An active location in a named store.
    pub fn in_store(url: impl Into<String>, store: &str) -> Self {
        let metadata = [("store".to_string(), store.into())].into_iter().collect();
        Self { url: url.into(), metadata, status: "active".to_string() }
    }

    /// An active location in a store that has no name.  Glance: without `enabled_backends`.
    pub fn unnamed(url: impl Into<String>) -> Self {
        let metadata = serde_json::Map::new();
        Self { url: url.into(), metadata, status: "active".to_string() }
    }

    /// Whether it counts as deleted: Glance has it so as soon as its data is only to be removed.
    pub fn is_gone(&self) -> bool {
        matches!(self.status.as_str(), "deleted" | "pending_delete")
    }

    /// The store's name, if the location says one.
    pub fn store(&self) -> Option<&str> {
        self.metadata.get("store")?.as_str()
    }
}

/// An image's record.  Field names and meanings are Glance's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The id, for ever.
    pub id: ImageId,
    /// Any text up to 255 characters; not unique.
    pub name: Option<String>,
    /// Bytes of data.
    pub size: Option<u64>,
    /// Bytes of the disk inside, for formats that have one.
    pub virtual_size: Option<u64>,
    /// Where it is in its life.
    pub status: Status,
    /// Who may see it.
    pub visibility: Visibility,
    /// `qcow2`, `raw`, … (Glance: option `disk_formats`).
    pub disk_format: Option<String>,
    /// `bare`, `ovf`, …
    pub container_format: Option<String>,
    /// MD5 of the data, hexadecimal.
    pub checksum: Option<String>,
    /// Name of the secure hash, `sha512` by default.
    pub os_hash_algo: Option<String>,
    /// The secure hash of the data, hexadecimal.
    pub os_hash_value: Option<String>,
    /// The owning project.
    pub owner: Option<ProjectId>,
    /// GiB of disk needed to boot it.
    pub min_disk: u64,
    /// MiB of memory needed to boot it.
    pub min_ram: u64,
    /// May not be deleted.
    pub protected: bool,
    /// Left out of listings that do not ask for it.
    pub os_hidden: bool,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Timestamp,
    /// The owner's own properties.  Glance allows NULL values; they read as empty.
    pub properties: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeSet<String>,
    /// Where the data is; several copies are equal.
    pub locations: Vec<Location>,
}

impl Image {
    /// A new, queued record with Glance's defaults.
    pub fn new(id: ImageId, owner: Option<ProjectId>) -> Self {
        let now = Timestamp::now();
        Self {
            id,
            name: None,
            size: None,
            virtual_size: None,
            status: Status::Queued,
            visibility: Visibility::Shared,
            disk_format: None,
            container_format: None,
            checksum: None,
            os_hash_algo: None,
            os_hash_value: None,
            owner,
            min_disk: 0,
            min_ram: 0,
            protected: false,
            os_hidden: false,
            created_at: now,
            updated_at: now,
            properties: BTreeMap::new(),
            tags: BTreeSet::new(),
            locations: Vec::new(),
        }
    }
}

/// What a change of an image does to one of its locations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocationChange {
    /// It is new.
    Add(Location),
    /// It is there, and this becomes of it; it may be that it is deleted.
    Alter(Location),
}

impl Image {
    /// What makes the locations of `old` into these.  A location is known by its URL.
    pub fn location_changes(&self, old: &Self) -> Vec<LocationChange> {
        let by_url = |image: &Self, url: &str| {
            image.locations.iter().find(|place| place.url == url).cloned()
        };
        let gone = old.locations.iter().filter(|place| by_url(self, &place.url).is_none());
        let deleted = |place: &Location| Location { status: "deleted".into(), ..place.clone() };
        let mut changes: Vec<_> = gone.map(|place| LocationChange::Alter(deleted(place))).collect();
        for place in &self.locations {
            match by_url(old, &place.url) {
                Some(same) if same == *place => {}
                Some(_) => changes.push(LocationChange::Alter(place.clone())),
                None => changes.push(LocationChange::Add(place.clone())),
            }
        }
        changes
    }
}

/// A project that an image is shared with.  Glance: table `image_members`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The project.
    pub project: ProjectId,
    /// What it makes of the image.
    pub status: MemberStatus,
    /// When the image was shared with it.
    pub created_at: Timestamp,
    /// When it answered last.
    pub updated_at: Timestamp,
}

/// What a directory listing needs of an image, and no more: a catalog has many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The id.
    pub id: ImageId,
    /// The name as recorded.
    pub name: Option<Box<str>>,
    /// The owning project.
    pub owner: Option<ProjectId>,
    /// Bytes of data; 0 while there is none.
    pub size: u64,
    /// Where it is in its life.
    pub status: Status,
    /// Who may see it.
    pub visibility: Visibility,
    /// May not be deleted.
    pub protected: bool,
    /// Left out of listings.
    pub os_hidden: bool,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Timestamp,
    /// The file time that was asked for (`cp -p`, `touch -d`): the property's text as stored.
    pub mtime: Option<Box<str>>,
    /// URL of the first active location.
    pub location: Option<Box<str>>,
}

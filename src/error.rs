//! What can go wrong with an image, in the words of the domain.
//!
//! Everything below the two faces answers with this one [`Error`].  `fs::errno` maps it to an
//! errno, `api::status` to an HTTP status, each in one table; nothing here knows either.
//! A message is written for whoever asked: it names the image or option, says what to do where
//! that is not obvious, and never holds a secret.

use std::io;

/// The result of everything in the core.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing, or this identity may not know of it.
    #[error("{0}")]
    NotFound(String),
    /// The policy hides it from this identity (Glance: with WebOb's usual words for a 404).
    #[error("The resource could not be found.")]
    Hidden,
    /// The identity may see it, but not do this.
    #[error("{0}")]
    Forbidden(String),
    /// A rule of the Image API forbids it, whatever the policy says: removing a field that every
    /// image has, using a reserved name, giving an image to another project.
    #[error("{0}")]
    Refused(String),
    /// The image is there, but has no such property or tag.
    #[error("{0}")]
    Missing(String),
    /// Image data, a read-only field, or a protected image: nobody may change it.
    #[error("{0}")]
    Immutable(String),
    /// The request makes no sense as it stands.
    #[error("{0}")]
    Invalid(String),
    /// The image is not in a state that allows this, or somebody else was faster.
    #[error("{0}")]
    Conflict(String),
    /// Something else depends on the image's data (clones, for example).
    #[error("{0}")]
    InUse(String),
    /// A file, or a property of the image, of that name exists already.
    #[error("{0}")]
    NameTaken(String),
    /// The image went away while this was under way.
    #[error("{0}")]
    Gone(String),
    /// More bytes than `image_size_cap` allows.
    #[error("{0}")]
    TooLarge(String),
    /// A quota, or a limit on the number of properties, tags and the like.
    #[error("{0}")]
    OverQuota(String),
    /// The store has no room left.
    #[error("{0}")]
    StoreFull(String),
    /// The bytes are not of the format that was declared, or are unsafe to use.
    #[error("{0}")]
    FormatMismatch(String),
    /// The store can do this for no image, or not on this system.
    #[error("{0}")]
    Unsupported(String),
    /// The store does not answer, or answers with an error.
    #[error("{0}")]
    StoreUnavailable(String),
    /// Keystone, which would know, does not answer.
    #[error("{0}")]
    Unidentified(String),
    /// The catalog's database does not answer, or is too busy.
    #[error("catalog: {0}")]
    CatalogUnavailable(String),
    /// The catalog's database failed, or holds something that cannot be understood.
    #[error("catalog: {0}")]
    Catalog(String),
    /// A configuration or command line that cannot work, with what to change.
    #[error("{0}")]
    Config(String),
    /// An operation of the local system failed; says which and on what.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, to what.
        what: String,
        /// The system's own error.
        source: io::Error,
    },
}

impl Error {
    /// Wraps a system error with what was being done: `.map_err(Error::io("sync", path))`.
    pub fn io(
        action: &'static str,
        target: impl std::fmt::Display,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: format!("{action} {target}"), source }
    }

    /// Whether a change that ended so may be in the catalog all the same: its answer was lost.
    pub fn leaves_unsettled(&self) -> bool {
        matches!(self, Self::Catalog(_) | Self::CatalogUnavailable(_))
    }

    /// No image has this id, as far as the asking identity may know.
    /// Glance: the very words of its 404.
    pub fn no_image(id: impl std::fmt::Display) -> Self {
        Self::NotFound(format!("No image found with ID {id}"))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Catalog(error.to_string())
    }
}

//! Named places where a test may have the process die as by `kill -9`.
//!
//! This is how the tests show that a crash anywhere in an upload, an import, a removal or a recovery loses
//! nothing and leaves nothing.  Builds for users have none of it.

/// The environment variable that names the step to die at.
const VARIABLE: &str = "GLANCEFS_CRASH_AT";

/// Where the process can be made to die.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// An upload's journal entry exists; the record is as it was.
    Journaled,
    /// The record says `saving`; there is no data.
    Record,
    /// Some of the data is written.
    Written,
    /// All of the data is durable, under its unfinished name.
    Sealed,
    /// The data has its final name; the record still says `saving`.
    Finished,
    /// The record says `active`; the journal still lists the upload.
    Committed,
    /// An import: its journal entry exists; nobody was told.
    ImportJournaled,
    /// An import: the image is the task's, which was not begun.
    ImportAccepted,
    /// An import: the record says `importing`.
    Importing,
    /// An import: data was fetched and altered; no store has any of it.
    ImportPrepared,
    /// An import: some of the data is in a store.
    ImportWritten,
    /// An import: a store has all of the data, under its final name; the record does not say so.
    ImportStored,
    /// An import: the record says `active`; the staged data is there.
    ImportCommitted,
    /// An import: its task has ended and still has the image.
    ImportEnded,
    /// A removal: no clone can be made any more; record and data are there.
    Withdrawn,
    /// A removal: the record is gone, the data is there.
    RecordDeleted,
    /// A removal: record and data are gone, the journal still lists it.
    DataDeleted,
    /// A recovery: the data is gone, the record still says `saving`.
    Discarded,
    /// A recovery: all is undone, the journal still lists it.
    Undone,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Journaled => "journaled",
            Self::Record => "record",
            Self::Written => "written",
            Self::Sealed => "sealed",
            Self::Finished => "finished",
            Self::Committed => "committed",
            Self::ImportJournaled => "import-journaled",
            Self::ImportAccepted => "import-accepted",
            Self::Importing => "importing",
            Self::ImportPrepared => "import-prepared",
            Self::ImportWritten => "import-written",
            Self::ImportStored => "import-stored",
            Self::ImportCommitted => "import-committed",
            Self::ImportEnded => "import-ended",
            Self::Withdrawn => "withdrawn",
            Self::RecordDeleted => "record-deleted",
            Self::DataDeleted => "data-deleted",
            Self::Discarded => "discarded",
            Self::Undone => "undone",
        }
    }
}

/// Ends the process if this is the step that the environment names.
pub(super) fn point(step: Step) {
    if cfg!(debug_assertions) && std::env::var_os(VARIABLE).is_some_and(|name| name == step.name())
    {
        // Cannot fail; if it did, this is as sudden.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}

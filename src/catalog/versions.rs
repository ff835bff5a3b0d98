//! Versions of Glance's database, as its migration tool numbers them.

/// The version that this program reads and writes (Glance 2024.1 up to 33, at least).
pub(super) const VERSION: &str = "2024_1_contract01";

/// Every earlier version, the oldest first, so that an older database can be told from a newer one.
pub(super) const OLDER: &[&str] = &[
    "liberty",
    "mitaka01",
    "mitaka02",
    "ocata01",
    "ocata_expand01",
    "ocata_contract01",
    "pike01",
    "pike_expand01",
    "pike_contract01",
    "queens_expand01",
    "queens_contract01",
    "rocky_expand01",
    "rocky_expand02",
    "rocky_contract01",
    "rocky_contract02",
    "train_expand01",
    "train_contract01",
    "ussuri_expand01",
    "ussuri_contract01",
    "wallaby_expand01",
    "wallaby_contract01",
    "xena_expand01",
    "xena_contract01",
    "yoga_expand01",
    "yoga_contract01",
    "zed_expand01",
    "zed_contract01",
    "2023_1_expand01",
    "2023_1_contract01",
    "2024_1_expand01",
];

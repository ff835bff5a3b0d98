//! glancefs: an OpenStack image catalog as a directory, and the Image API beside it.
//!
//! ```text
//!                     main.rs → cli → daemon, adopt, scrub   the command line; puts the parts together
//!                                 │
//!       ┌─────────────────────────┼───────────────┐
//!     fs                         api            admin   the faces: FUSE, HTTP, the admin socket
//!       └─────────────────────────┼───────────────┘
//!             metadefs          images                  what can be done to definitions and to
//!                 │     ┌─────────┴───────┐             images, and by whom
//!                 │     │               cache           images that are far away: blocks, files
//!                 └─────┤                 │
//!                    catalog            store           records; bytes
//!
//!     below all: identity   config   telemetry   error
//! ```
//!
//! `notifications` stands beside the faces: `images` and `metadefs` tell it, through a trait of theirs, what is
//! done, and it tells the operator's message bus.
//!
//! An arrow only goes down; `fs` and `api` never import each other, nor do `images` and `metadefs`
//! (whose only face is `api`); `catalog` and `store` know nothing of each other but the id.

pub mod admin;
pub mod adopt;
pub mod api;
pub mod cache;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod error;
pub mod fs;
pub mod identity;
pub mod images;
pub mod metadefs;
pub mod notifications;
pub mod scrub;
pub mod store;
pub mod telemetry;

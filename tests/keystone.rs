//! A glancefs that believes a real Keystone: who is let in, as whom, for how long, and what happens
//! while Keystone is away.
//!
//! `scripts/test` installs Keystone and says where it is.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "keystone/client.rs"]
mod client;
#[path = "keystone/face.rs"]
mod face;
// Not every test binary needs all that the harness offers.
#[allow(unused_imports)]
#[path = "harness/mod.rs"]
mod harness;
#[path = "keystone/limits.rs"]
mod limits;
#[path = "keystone/outage.rs"]
mod outage;
#[path = "keystone/regions.rs"]
mod regions;
#[path = "keystone/tokens.rs"]
mod tokens;

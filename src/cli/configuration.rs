//! `glancefs config`: what configuration files come to, without starting anything.

use clap::{Args, Subcommand};

use super::{Files, LogWishes};
use crate::config::settings::{Origin, as_file};
use crate::config::{Config, Listen};
use crate::error::Result;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the files as mount and serve do, and say what is wrong, unknown or without effect
    ///
    /// Exit status 0: they can be used; 1: they cannot, and standard error says where and why.
    Check(Files),
    /// Print what is in force, as a configuration file, with passwords masked
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    files: Files,
    /// Say of each option where it was set: the file and line, the command line, or the default
    #[arg(long)]
    origin: bool,
}

impl ConfigCommand {
    pub(super) fn run(self, log: LogWishes) -> Result<()> {
        match self {
            Self::Check(files) => {
                check(&files.read(Listen::AsConfigured, None, log)?);
            }
            Self::Show(ShowArgs { files, origin }) => {
                let config = files.read(Listen::AsConfigured, None, log)?;
                print!("{}", as_file(&config.settings, origin));
            }
        }
        Ok(())
    }
}

fn check(config: &Config) {
    for warning in config.warnings() {
        println!("warning: {warning}");
    }
    let set = config.settings.iter().filter(|s| s.origin != Origin::Default).count();
    println!("the configuration can be used: {set} options set, the others at their defaults");
}

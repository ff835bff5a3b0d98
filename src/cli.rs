//! The command line: what can be asked for, and who is asked.
//!
//! Turns arguments into a [`Config`] and calls [`daemon`], the catalog or
//! [`admin`]; prints what went wrong.  Nothing is done here.

mod configuration;
pub mod mount_helper;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand};

use crate::adopt::{AdoptSettings, Place};
use crate::catalog::metadefs::Existing;
use crate::config::logging::LogFormat;
use crate::config::mount_options::{KNOWN, MountOptions};
use crate::config::{Config, Listen, Overrides, default_state_dir, files};
use crate::daemon::MountSettings;
use crate::error::Result;
use crate::identity::ProjectId;
use crate::images::import::plugins::sandbox;
use crate::metadefs::load;
use crate::{admin, adopt, daemon, scrub, telemetry};
use configuration::ConfigCommand;

/// An OpenStack image catalog as a directory, and the Image API beside it.
///
/// `glancefs mount ./images` makes an empty catalog the first time, shows its images as files
/// in ./images, and serves the same images over HTTP at 127.0.0.1:9292. Copy an image file into
/// the directory to add it to the catalog.
#[derive(Debug, Parser)]
#[command(name = "glancefs", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// Log what is being done, not only what matters (RUST_LOG, when set, decides instead)
    #[arg(short, long, global = true)]
    verbose: bool,
    /// How the log looks [default: use_json and log_format of the configuration, else text]
    #[arg(long, global = true, value_name = "text|json", hide_possible_values = true)]
    log_format: Option<LogFormat>,
    #[command(subcommand)]
    command: Command,
}

/// What the command line says about the log.
#[derive(Clone, Copy, Debug)]
struct LogWishes {
    verbose: bool,
    format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the catalog as a directory, and serve the Image API, until interrupted
    ///
    /// Stays in the foreground and prints one line when the directory and the API answer.
    /// SIGINT (Ctrl-C) or SIGTERM finishes what is under way, unmounts and ends it. A dead mount
    /// that an earlier run left on MOUNTPOINT is removed first.
    Mount(MountArgs),
    /// Serve the Image API alone, without a directory, until interrupted
    Serve(ServeArgs),
    /// Make or upgrade the catalog's database, or say its version
    #[command(subcommand)]
    Db(DbCommand),
    /// Check configuration files, or show what they come to
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make catalog records for image data that has none
    ///
    /// Looks into the stores for RBD images and image files that no record names, reads each to
    /// find its hashes, size and format, and makes a record for it where it lies. Of a directory
    /// that is no store, each file is copied into one. What a record names is never touched; what
    /// looks like an upload that is not complete is left alone, and said.
    Adopt(AdoptArgs),
    /// Remove the data of deleted images, see which wait for that, or bring one back
    ///
    /// With delayed_delete the data of a deleted image stays until it is scrubbed, scrub_time
    /// seconds later or more. A glancefs that runs with this state directory does what is asked
    /// for, by its own configuration; where none does, this command.
    Scrub(ScrubArgs),
    /// Say what the running glancefs is doing: mounts, uploads, stores
    Status(StatusArgs),
    /// See what the running glancefs keeps on its local disk, or change that
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Print what has a shell complete this program's commands and options
    ///
    /// For bash, for example: glancefs completions bash >/etc/bash_completion.d/glancefs
    Completions {
        /// bash, zsh, fish, elvish or powershell
        #[arg(hide_possible_values = true)]
        shell: clap_complete::Shell,
    },
    /// Become another program, within limits: for glancefs itself
    #[command(name = sandbox::COMMAND, hide = true)]
    Confined {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct Files {
    /// Read options from FILE, in the format of glance-api.conf; of several files, later ones win
    #[arg(long = "config-file", value_name = "FILE")]
    config_files: Vec<PathBuf>,
    /// After them, read the files *.conf of DIR, in the order of their names
    #[arg(long = "config-dir", value_name = "DIR")]
    config_dirs: Vec<PathBuf>,
    /// Keep catalog, images and everything else in DIR [default: /var/lib/glancefs for root, else
    /// glancefs in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct MountArgs {
    #[command(flatten)]
    files: Files,
    /// Serve the Image API at this address [default: bind_host and bind_port, else 127.0.0.1:9292]
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "no_api")]
    listen: Option<SocketAddr>,
    /// Do not serve the Image API
    #[arg(long)]
    no_api: bool,
    /// Act as a member of project ID: see what it may see, and own what is added [default: the
    /// operator, who sees everything]
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Options of the mount, separated by commas; see below
    #[arg(short = 'o', value_name = "OPT[,OPT...]", long_help = mount_options_help())]
    options: Vec<String>,
    /// Leave the terminal once the mount answers: for mount.glancefs
    #[arg(long, hide = true)]
    background: bool,
    /// What the mount table is to name as mounted: for mount.glancefs
    #[arg(long, hide = true, value_name = "NAME")]
    source: Option<String>,
    /// The directory to show the images in
    mountpoint: PathBuf,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    files: Files,
    /// Serve at this address [default: bind_host and bind_port, else 127.0.0.1:9292]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Act as a member of project ID [default: the operator, who sees everything]
    #[arg(long, value_name = "ID")]
    project: Option<String>,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Create the catalog's database, or bring it to the version of this program
    ///
    /// Not needed before `mount` or `serve`, which do the same. Doing it twice changes nothing.
    Sync(Files),
    /// Load metadata definitions from Glance's files into the catalog
    ///
    /// PATH is a file with a namespace as JSON, or a directory of such files (*.json). A namespace
    /// that is in the catalog already is left as it is, unless --merge says otherwise. Makes the
    /// database where there is none.
    LoadMetadefs(LoadMetadefsArgs),
    /// Print the version of the catalog's database, in the words of `glance-manage db version`
    Version(Files),
}

#[derive(Debug, Args)]
struct LoadMetadefsArgs {
    #[command(flatten)]
    files: Files,
    /// Add to namespaces that are there what they lack
    #[arg(long)]
    merge: bool,
    /// With --merge: replace, too, what is there by the same name
    #[arg(long, alias = "prefer_new", requires = "merge", conflicts_with = "overwrite")]
    prefer_new: bool,
    /// With --merge: remove namespaces that are there first, with all they have
    #[arg(long, requires = "merge")]
    overwrite: bool,
    /// A file, or a directory of files
    path: PathBuf,
}

#[derive(Debug, Args)]
struct AdoptArgs {
    #[command(flatten)]
    files: Files,
    /// Look only into the store of this name (with --directory: copy to it) [default: all stores]
    #[arg(long, value_name = "NAME")]
    store: Option<String>,
    /// Look only into the store that is this pool
    #[arg(long, value_name = "POOL", conflicts_with_all = ["store", "directory"])]
    pool: Option<String>,
    /// Take the image files of DIR instead
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Say what would be adopted, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Give what is adopted to project ID [default: to nobody]
    #[arg(long, value_name = "ID")]
    project: Option<String>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("wish").required(true).args(["once", "list", "restore"])))]
struct ScrubArgs {
    /// Remove now what is due, and say of each image what came of it
    #[arg(long)]
    once: bool,
    /// Show the deleted images whose data is still there, and when each is due
    #[arg(long)]
    list: bool,
    /// With --list: print the whole list as JSON
    #[arg(long, requires = "list")]
    json: bool,
    /// Bring the deleted image ID back, active, as it was
    #[arg(long, value_name = "ID")]
    restore: Option<String>,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Print the whole report as JSON
    #[arg(long)]
    json: bool,
    /// Print it again every second, until interrupted
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    daemon: Running,
}

/// Which daemon is asked.
#[derive(Debug, Args)]
struct Running {
    /// The state directory of the glancefs that is asked [default: as for mount]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Show the images that are cached on disk, what is being copied, and what waits
    List {
        /// Print the whole list as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        daemon: Running,
    },
    /// Copy images to the disk cache now, and wait until they are there
    ///
    /// Interrupting it does not stop the copying; `evict` does.
    Prefetch {
        /// Ids or names
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
        #[command(flatten)]
        daemon: Running,
    },
    /// Remove images from the disk cache
    ///
    /// Who reads one goes on; its room is free when it is closed.
    Evict {
        /// Ids
        #[arg(required_unless_present = "all", value_name = "ID")]
        images: Vec<String>,
        /// Remove all of them
        #[arg(long, conflicts_with = "images")]
        all: bool,
        #[command(flatten)]
        daemon: Running,
    },
}

/// Runs the command line of this process; what `main` returns.
///
/// Exit status: 0 done, 1 failed (said on standard error), 2 the command line makes no sense.
pub fn run() -> ExitCode {
    if mount_helper::is_meant(std::env::args_os().next().as_deref()) {
        let arguments: Vec<_> =
            std::env::args_os().skip(1).map(|text| text.to_string_lossy().into_owned()).collect();
        return mount_helper::run(&arguments);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too.  Nobody is left to tell if printing fails.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let log = LogWishes { verbose: cli.verbose, format: cli.log_format };
    match cli.command.run(log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("glancefs: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn run(self, log: LogWishes) -> Result<()> {
        match self {
            Self::Mount(arguments) => {
                // Before anything is read or made: a mistyped option is the commonest mistake.
                let options = MountOptions::parse(&arguments.options)?;
                let listen = match (arguments.no_api, arguments.listen) {
                    (true, _) => Listen::Off,
                    (false, Some(address)) => Listen::On(address),
                    (false, None) => Listen::AsConfigured,
                };
                let config = arguments.files.load(listen, arguments.project, log)?;
                let MountArgs { mountpoint, background, source, .. } = arguments;
                daemon::mount(MountSettings { config, mountpoint, options, background, source })
            }
            Self::Serve(arguments) => {
                let listen = arguments.listen.map_or(Listen::AsConfigured, Listen::On);
                daemon::serve(arguments.files.load(listen, arguments.project, log)?)
            }
            Self::Db(command) => command.run(log),
            Self::Config(command) => command.run(log),
            Self::Adopt(arguments) => {
                let place = arguments.place();
                let AdoptArgs { files, project, dry_run, .. } = arguments;
                let config = files.load(Listen::Off, project, log)?;
                adopt::run(&AdoptSettings { config, place, dry_run })
            }
            Self::Scrub(arguments) => arguments.run(log),
            Self::Status(StatusArgs { json, watch, daemon }) => {
                let state_dir = daemon.state_dir()?;
                if watch { admin::watch(&state_dir, json) } else { admin::status(&state_dir, json) }
            }
            Self::Cache(command) => command.run(),
            Self::Completions { shell } => {
                let mut program = Cli::command();
                clap_complete::generate(shell, &mut program, "glancefs", &mut std::io::stdout());
                Ok(())
            }
            Self::Confined { arguments } => match sandbox::confine(&arguments)? {},
        }
    }
}

impl AdoptArgs {
    fn place(&self) -> Place {
        match (&self.directory, &self.pool, &self.store) {
            (Some(directory), _, store) => Place::Directory(directory.clone(), store.clone()),
            (None, Some(pool), _) => Place::Pool(pool.clone()),
            (None, None, Some(store)) => Place::Store(store.clone()),
            (None, None, None) => Place::Everywhere,
        }
    }
}

impl ScrubArgs {
    fn run(self, log: LogWishes) -> Result<()> {
        let wish = match self.restore {
            Some(id) => scrub::Wish::Restore(id),
            None if self.list => scrub::Wish::List { json: self.json },
            None => scrub::Wish::Once,
        };
        scrub::run(&self.files.load(Listen::Off, None, log)?, &wish)
    }
}

impl Running {
    fn state_dir(self) -> Result<PathBuf> {
        self.state_dir.map_or_else(default_state_dir, Ok)
    }
}

impl CacheCommand {
    fn run(self) -> Result<()> {
        match self {
            Self::List { json, daemon } => admin::cache::list(&daemon.state_dir()?, json),
            Self::Prefetch { images, daemon } => {
                admin::cache::prefetch(&daemon.state_dir()?, &images)
            }
            Self::Evict { all: true, daemon, .. } => admin::cache::evict_all(&daemon.state_dir()?),
            Self::Evict { images, daemon, .. } => {
                admin::cache::evict(&daemon.state_dir()?, &images)
            }
        }
    }
}

impl DbCommand {
    fn run(self, log: LogWishes) -> Result<()> {
        match self {
            Self::Sync(files) => {
                let config = files.load_for_database(log)?;
                config.catalog.sync()?;
                println!("{} is up to date", config.catalog);
            }
            Self::LoadMetadefs(arguments) => {
                let existing = arguments.existing();
                let config = arguments.files.load_for_database(log)?;
                let catalog = config.catalog.open()?.metadefs;
                load::run(&*catalog, &arguments.path, existing)?;
            }
            Self::Version(files) => {
                let config = files.load(Listen::Off, None, log)?;
                match config.catalog.version()? {
                    Some(version) => println!("{version}"),
                    None => println!("{} holds no catalog yet", config.catalog),
                }
            }
        }
        Ok(())
    }
}

impl LoadMetadefsArgs {
    fn existing(&self) -> Existing {
        match (self.merge, self.prefer_new, self.overwrite) {
            (false, ..) => Existing::Keep,
            (true, _, true) => Existing::Replace,
            (true, true, false) => Existing::Update,
            (true, false, false) => Existing::Complete,
        }
    }
}

impl Files {
    /// The same as [`load`](Self::load), for a command that may make the database.
    fn load_for_database(self, log: LogWishes) -> Result<Config> {
        let config = self.load(Listen::Off, None, log)?;
        if config.catalog.path().is_some_and(|path| path.starts_with(&config.state_dir)) {
            config.create_state_dir()?;
        }
        Ok(config)
    }

    /// Reads the configuration, starts logging as it says, and logs what was odd about it.
    fn load(self, listen: Listen, project: Option<String>, log: LogWishes) -> Result<Config> {
        let config = self.read(listen, project, log)?;
        telemetry::start(&config.logging)?;
        config.log_notes();
        Ok(config)
    }

    /// Reads the configuration, and nothing more.
    fn read(self, listen: Listen, project: Option<String>, log: LogWishes) -> Result<Config> {
        let project = project.map(ProjectId::new);
        let LogWishes { verbose, format: log_format } = log;
        let overrides =
            Overrides { state_dir: self.state_dir, listen, project, verbose, log_format };
        Config::load(&files::in_order(&self.config_files, &self.config_dirs)?, &overrides)
    }
}

fn mount_options_help() -> String {
    let mut help = String::from("Options of the mount, separated by commas (`\\,` is a comma):\n");
    for option in KNOWN {
        let name = option.name.replace('=', "=N");
        help.push_str(&format!("\n  {name:<12} {}", option.help));
    }
    help.push_str(
        "\n\nWhat /etc/fstab needs besides (defaults, nofail, _netdev, x-..., user, ...) is \
         accepted and has no effect.",
    );
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_address_and_no_api_exclude_each_other() {
        let arguments = ["glancefs", "mount", "--no-api", "--listen", "127.0.0.1:1", "/m"];
        assert!(Cli::try_parse_from(arguments).is_err());
    }

    #[test]
    fn options_of_a_mount_may_be_given_several_times() {
        let arguments = ["glancefs", "mount", "-o", "ro,uid=5", "-o", "chmod", "/m"];
        let Command::Mount(mount) = Cli::try_parse_from(arguments).unwrap().command else {
            panic!("not a mount");
        };
        let options = MountOptions::parse(&mount.options).unwrap();
        assert_eq!(options.to_string(), "ro,chmod,uid=5");
    }
}

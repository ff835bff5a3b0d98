//! The plugin image_conversion with the real qemu-img, and what its sandbox holds back.

// Also outside of the test functions themselves a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "conversion/formats.rs"]
mod formats;
#[path = "conversion/hostile.rs"]
mod hostile;
#[path = "conversion/sandbox.rs"]
mod sandbox;

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use glancefs::catalog::model::{Image, ImageId};
use glancefs::error::Result;
use glancefs::identity::RequestContext;
use glancefs::images::format::FormatRules;
use glancefs::images::import::plugins::conversion::{Conversion, OutputFormat};
use glancefs::images::import::plugins::sandbox::Sandbox;
use glancefs::images::import::plugins::{Plugin, Plugins};
use glancefs::images::import::watch::Watch;

/// Bytes of an image at most.
const CAP: u64 = 64 << 20;

/// A directory for data, one for images, and the empty one that programs run in.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["staging", "images", "open"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        // Programs run as nobody where the tests run as root.
        for (name, mode) in [("", 0o755), ("open", 0o777)] {
            let permissions = Permissions::from_mode(mode);
            std::fs::set_permissions(directory.path().join(name), permissions).unwrap();
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// An image that qemu-img or another program makes.
    fn image(&self, name: &str) -> PathBuf {
        self.path("images").join(name)
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox { launcher: env!("CARGO_BIN_EXE_glancefs").into(), empty: self.path("empty") }
    }

    fn plugins(&self, output: OutputFormat, program: &Path) -> Plugins {
        let conversion = Conversion {
            output,
            rules: FormatRules::default(),
            program: program.to_owned(),
            sandbox: self.sandbox(),
        };
        Plugins {
            list: vec![Plugin::Conversion(conversion)],
            directory: self.path("staging"),
            size_cap: CAP,
        }
    }

    /// Imports a file that is declared to be of a format.
    fn convert(&self, file: &Path, declared: &str, plugins: &Plugins) -> Result<(Image, File)> {
        let mut image = Image::new(ImageId::random(), None);
        image.disk_format = Some(declared.to_owned());
        image.container_format = Some("bare".to_owned());
        let data = File::open(file).unwrap();
        let watch = Watch::new(Duration::from_secs(60));
        let outcome = plugins.run(&RequestContext::operator(), &mut image, data, &watch);
        for name in ["staging", "empty"] {
            let left = std::fs::read_dir(self.path(name)).map_or(0, Iterator::count);
            assert_eq!(left, 0, "something is left in {name}");
        }
        outcome.map(|data| (image, data))
    }
}

fn qemu_img() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|place| place.join("qemu-img")).find(|p| p.exists()).unwrap()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect(program);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {words}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

//! The `glancefs` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    glancefs::cli::run()
}

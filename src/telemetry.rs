//! Logging: to standard error, as much as the operator asked for.
//!
//! What other crates log (through `tracing` or `log`, as fuser does) is shown from warnings on:
//! their debug output may hold request headers, and so tokens.  `RUST_LOG`, when set, decides
//! everything instead, but for what the HTTP client says, who shows whatever is sent.

pub mod metrics;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process; a second call changes nothing.
pub fn start(debug: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(default_directives(debug)));
    let filter = without_wire(filter);
    // Only fails when logging was started before, which is fine (tests, for example).
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(debug)
        .try_init();
}

/// Keeps the HTTP client from showing bytes, of which some are tokens and passwords.
fn without_wire(filter: EnvFilter) -> EnvFilter {
    let quiet = ["ureq=info", "ureq_proto=info"].into_iter().filter_map(|text| text.parse().ok());
    quiet.fold(filter, EnvFilter::add_directive)
}

fn default_directives(debug: bool) -> &'static str {
    if debug { "warn,glancefs=debug" } else { "warn,glancefs=info" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_over_the_wire_is_never_shown() {
        let filter: EnvFilter = "trace,ureq=trace".parse().unwrap();
        let shown = without_wire(filter).to_string();
        assert!(shown.contains("ureq=info") && shown.contains("ureq_proto=info"), "{shown}");
        assert!(!shown.contains("ureq=trace"), "{shown}");
    }

    #[test]
    fn other_crates_never_get_below_warnings_by_themselves() {
        for debug in [false, true] {
            let filter: EnvFilter = default_directives(debug).parse().unwrap();
            let shown = filter.to_string();
            assert!(shown.contains("warn") && shown.contains("glancefs="), "{shown}");
            assert!(!shown.contains("hyper"));
        }
    }
}

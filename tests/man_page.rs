//! The manual pages say what the program can do, all of it and nothing else: commands and options
//! against `--help`, mount options and configuration against their tables.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::collections::BTreeSet;
use std::process::Command;

use glancefs::cli::mount_helper::DAEMON_OPTIONS;
use glancefs::config::ineffective::{INEFFECTIVE_OPTIONS, INEFFECTIVE_SECTIONS};
use glancefs::config::mount_options::KNOWN;
use glancefs::config::options::{ConfigOption, OPTIONS};
use glancefs::telemetry::metrics::{COUNTED, LEVELS};

const GLANCEFS: &str = include_str!("../man/glancefs.8");
const MOUNT: &str = include_str!("../man/mount.glancefs.8");
const SEMANTICS: &str = include_str!("../man/glancefs-semantics.7");
const CONF: &str = include_str!("../man/glancefs.conf.5");

/// What `--help` says: commands (`db sync`) and options (`--json`, `-o`).
#[derive(Default)]
struct Help {
    commands: BTreeSet<String>,
    options: BTreeSet<String>,
}

fn set<'a>(items: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    items.into_iter().map(str::to_owned).collect()
}

/// The lines after `heading`, up to the next line that is not indented.
fn block<'a>(help: &'a str, heading: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = help.lines().skip_while(move |line| *line != heading).skip(1);
    lines.take_while(|line| line.is_empty() || line.starts_with(' '))
}

fn collect(path: &[String], help: &mut Help) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_glancefs")).args(path).arg("--help").output().unwrap();
    assert!(output.status.success(), "{path:?} --help");
    let text = String::from_utf8(output.stdout).unwrap();
    let dashed = block(&text, "Options:").map(str::trim_start).filter(|line| line.starts_with('-'));
    for line in dashed {
        let words = line.split([' ', ',']).take_while(|word| !word.starts_with('<'));
        help.options.extend(words.filter(|word| word.starts_with('-')).map(str::to_owned));
    }
    let commands: Vec<_> =
        block(&text, "Commands:").filter_map(|line| line.split_whitespace().next()).collect();
    if commands.is_empty() {
        help.commands.insert(path.join(" "));
    }
    for command in commands {
        let mut deeper = path.to_vec();
        deeper.push(command.to_owned());
        collect(&deeper, help);
    }
}

fn help() -> Help {
    let mut help = Help::default();
    collect(&[], &mut help);
    // Else a change in the layout of the help would let everything pass.
    assert!(help.commands.len() >= 5 && help.options.len() >= 10, "the help was not understood");
    help
}

/// The lines of a page between `.Sh name` and the next `.Sh`.
fn section(page: &'static str, name: &str) -> Vec<&'static str> {
    let heading = format!(".Sh {name}");
    let lines: Vec<_> = page
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with(".Sh "))
        .collect();
    assert!(!lines.is_empty(), "the page has no section {name}");
    lines
}

/// Every option that the page names with `Fl`.
fn options_in_page() -> BTreeSet<String> {
    let macros = GLANCEFS.lines().filter(|line| line.starts_with('.'));
    macros
        .flat_map(|line| {
            let words: Vec<_> = line.trim_start_matches('.').split_whitespace().collect();
            let flags: Vec<_> = words
                .windows(2)
                .filter(|pair| pair[0] == "Fl")
                .map(|pair| format!("-{}", pair[1]))
                .collect();
            flags
        })
        .collect()
}

#[test]
fn every_option_is_in_the_page_and_no_other() {
    assert_eq!(options_in_page(), help().options);
}

#[test]
fn every_command_is_explained_and_in_the_synopsis() {
    let commands = help().commands;
    let synopsis = section(GLANCEFS, "SYNOPSIS");
    assert_eq!(set(synopsis.iter().filter_map(|line| line.strip_prefix(".Cm "))), commands);
    let explained = section(GLANCEFS, "DESCRIPTION");
    assert_eq!(set(explained.iter().filter_map(|line| line.strip_prefix(".It Nm Cm "))), commands);
}

/// What the list of a section of mount.glancefs(8) explains.
fn mount_options(name: &str) -> BTreeSet<String> {
    let items = section(MOUNT, name).into_iter().filter_map(|line| line.strip_prefix(".It Cm "));
    let words = items.flat_map(|item| item.split_whitespace().take_while(|word| *word != "Ns"));
    words.filter(|word| *word != ",").map(str::to_owned).collect()
}

#[test]
fn every_mount_option_is_in_the_page_and_no_other() {
    assert_eq!(mount_options("MOUNT OPTIONS"), set(KNOWN.iter().map(|option| option.name)));
    let daemon = set(DAEMON_OPTIONS.iter().map(|option| option.name));
    assert_eq!(mount_options("OPTIONS OF THE DAEMON"), daemon);
}

/// The part of glancefs.conf(5) that the table of options and that of what has no effect make.
fn generated() -> String {
    let mut text = String::new();
    let sections: Vec<_> = OPTIONS.iter().map(|option| option.section).collect();
    for section in sections.chunk_by(|one, other| one == other).map(|same| same[0]) {
        text += &format!(".Ss [{section}]\n.Bl -tag -width Ds\n");
        for option in OPTIONS.iter().filter(|option| option.section == section) {
            text += &entry(option);
        }
        text += ".El\n";
    }
    text += ".Sh WITHOUT EFFECT\nGlance has these, or had them once; here they change nothing.\n";
    text += "Of these sections everything:\n";
    text += &format!("{}.\n", INEFFECTIVE_SECTIONS.join(",\n"));
    text += ".Bl -tag -width Ds\n";
    for (section, names) in INEFFECTIVE_OPTIONS {
        let names: Vec<_> = names.split_whitespace().collect();
        text += &format!(".It Bq {section}\n{}.\n", names.join(",\n"));
    }
    text + ".El\n"
}

fn entry(option: &ConfigOption) -> String {
    let kind = option.kind;
    let default = match (option.default, option.has_fixed_default()) {
        ("", _) | (_, false) => String::new(),
        (default, true) => format!(", {default}"),
    };
    let mut text = format!(".It Cm {} Pq {kind}{default}\n{}\n", option.name, option.help);
    if !option.has_fixed_default() {
        let words = option.default.trim_matches(['<', '>']);
        text += &format!("Default: {words}.\n");
    }
    if !option.old_names.is_empty() {
        let names: Vec<_> = option.old_names.iter().map(|(s, n)| format!("[{s}] {n}")).collect();
        text += &format!("Older names: {}.\n", names.join(", "));
    }
    text
}

#[test]
fn the_options_of_the_configuration_are_those_of_the_table() {
    let heading = ".Sh OPTIONS\n";
    let (before, rest) = CONF.split_once(heading).unwrap();
    let after = rest.find(".Sh SEE ALSO").unwrap();
    let (own, after) = rest.split_at(after);
    if std::env::var_os("GLANCEFS_WRITE_MAN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/man/glancefs.conf.5");
        std::fs::write(path, format!("{before}{heading}{}{after}", generated())).unwrap();
        return;
    }
    assert!(
        own == generated(),
        "man/glancefs.conf.5 is not what the table says; to write it again: \
         GLANCEFS_WRITE_MAN=1 cargo test --test man_page"
    );
}

/// The tests that a line of glancefs-semantics(7) names: `.Bq file: test, test`.
fn named_tests(line: &str) -> Option<(&str, Vec<&str>)> {
    let (file, tests) = line.strip_prefix(".Bq ")?.split_once(": ")?;
    Some((file, tests.split(", ").collect()))
}

#[test]
fn every_figure_of_metrics_is_in_the_page_and_no_other() {
    let items = section(GLANCEFS, "METRICS").into_iter();
    let page: Vec<_> = items.filter(|line| line.starts_with(".It Li glancefs_")).collect();
    let table = COUNTED.iter().map(|(name, ..)| *name).chain(LEVELS.iter().map(|level| level.0));
    assert_eq!(set(page.iter().filter_map(|line| line.strip_prefix(".It Li "))), set(table));
}

#[test]
fn every_test_that_the_contract_of_the_mount_names_exists() {
    let mut count = 0;
    for (file, tests) in SEMANTICS.lines().filter_map(named_tests) {
        let path = format!("{}/tests/{file}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        for test in tests {
            let (before, _) = source
                .split_once(&format!("fn {test}() {{"))
                .unwrap_or_else(|| panic!("{path} has no {test}"));
            let above = before.rsplit("\n\n").next().unwrap_or_default();
            assert!(above.contains("#[test]"), "{path}: {test} is no test");
            count += 1;
        }
    }
    assert!(count > 40, "the page was not understood");
}

#[test]
fn every_point_of_the_contract_of_the_mount_names_a_test() {
    let mut open = None;
    for line in SEMANTICS.lines() {
        if line.starts_with(".It ") || line == ".El" {
            assert_eq!(open, None, "nothing shows that this is so");
            open = Some(line).filter(|line| line.starts_with(".It "));
        } else if named_tests(line).is_some() {
            open = None;
        }
    }
}

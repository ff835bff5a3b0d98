//! The manual pages say what the program can do, all of it and nothing else: commands and options
//! against `--help`, mount options and configuration against their tables.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::collections::BTreeSet;
use std::process::Command;

use glancefs::config::mount_options::KNOWN;
use glancefs::config::options::OPTIONS;

const GLANCEFS: &str = include_str!("../man/glancefs.8");
const MOUNT: &str = include_str!("../man/mount.glancefs.8");
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

#[test]
fn every_mount_option_is_in_the_page_and_no_other() {
    let page: BTreeSet<_> = section(MOUNT, "MOUNT OPTIONS")
        .iter()
        .filter_map(|line| line.strip_prefix(".It Cm "))
        .flat_map(|line| {
            let words = line.split_whitespace().take_while(|word| *word != "Ns");
            words.filter(|word| *word != ",").map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(page, set(KNOWN.iter().map(|option| option.name)));
}

#[test]
fn every_configuration_option_is_in_the_page_with_its_default_and_no_other() {
    let mut owner = "";
    let mut page = BTreeSet::new();
    for line in section(CONF, "OPTIONS") {
        if let Some(name) = line.strip_prefix(".Ss ") {
            owner = name;
        } else if let Some(item) = line.strip_prefix(".It Cm ") {
            page.insert(format!("{owner} {item}"));
        }
    }
    let table: BTreeSet<_> = OPTIONS
        .iter()
        .map(|option| match (option.default, option.has_fixed_default()) {
            ("", _) | (_, false) => option.to_string(),
            (default, true) => format!("{option} Pq {default}"),
        })
        .collect();
    assert_eq!(page, table);
}

#[test]
fn what_an_option_does_and_was_called_before_is_in_the_page() {
    let text = section(CONF, "OPTIONS").join("\n");
    for option in OPTIONS {
        assert!(text.contains(option.help), "{option}: {}", option.help);
        for (section, name) in option.old_names {
            assert!(text.contains(&format!("[{section}] {name}")), "{option}: {name}");
        }
    }
}

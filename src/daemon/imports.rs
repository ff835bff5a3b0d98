//! What the configuration says about imports, as the rules of images have it.

use std::path::PathBuf;

use crate::config::Config;
use crate::config::import_rules::{AllowedOrNot, ConfiguredHost, ImportPlugin};
use crate::error::{Error, Result};
use crate::images::format::FormatRules;
use crate::images::import::plugins::Plugin;
use crate::images::import::plugins::conversion::{Conversion, OutputFormat};
use crate::images::import::plugins::metadata::InjectMetadata;
use crate::images::import::plugins::sandbox::Sandbox;
use crate::images::import::web::WebRules;
use crate::images::import::web::rules::Filter;
use crate::images::import::web::uri::TargetHost;

/// What web-download may ask for.
pub(super) fn web_rules(config: &Config) -> WebRules {
    let rules = &config.import_rules;
    let host = |host: &ConfiguredHost| match host {
        ConfiguredHost::Name(name) => TargetHost::Name(name.clone()),
        ConfiguredHost::Address(address) => TargetHost::Address(*address),
    };
    WebRules {
        schemes: filter(&rules.schemes, String::clone),
        hosts: filter(&rules.hosts, host),
        ports: filter(&rules.ports, |port| *port),
        networks: rules.networks.clone(),
    }
}

fn filter<T, U>(lists: &AllowedOrNot<T>, item: impl Fn(&T) -> U) -> Filter<U> {
    Filter {
        allowed: lists.allowed.iter().map(&item).collect(),
        disallowed: lists.disallowed.iter().map(&item).collect(),
    }
}

/// The plugins that images go through.
///
/// # Errors
/// `Config` for a conversion without `qemu-img`.
pub(super) fn plugins(config: &Config, format_rules: &FormatRules) -> Result<Vec<Plugin>> {
    let rules = &config.import_rules;
    let plugin = |plugin: &ImportPlugin| {
        Ok(match plugin {
            ImportPlugin::NoOp => Plugin::NoOp,
            ImportPlugin::Decompression => Plugin::Decompression,
            ImportPlugin::InjectMetadata => Plugin::InjectMetadata(InjectMetadata {
                ignore_user_roles: rules.ignore_user_roles.clone(),
                properties: rules.inject.clone(),
            }),
            ImportPlugin::Conversion => Plugin::Conversion(Conversion {
                output: OutputFormat::named(&rules.output_format).unwrap_or_default(),
                rules: format_rules.clone(),
                program: qemu_img()?,
                sandbox: Sandbox::new(config.state_dir.join("empty")),
            }),
        })
    };
    rules.plugins.iter().map(plugin).collect()
}

/// Where `qemu-img` is: it runs with an empty environment, where nothing would find it.
fn qemu_img() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).filter(|place| place.is_absolute());
    let mut programs = places.map(|place| place.join("qemu-img"));
    programs.find(|program| program.is_file()).ok_or_else(|| {
        Error::Config(
            "image_import_plugins has image_conversion, which needs qemu-img: install qemu-utils \
             (qemu-img on other systems), or leave the plugin out"
                .to_owned(),
        )
    })
}

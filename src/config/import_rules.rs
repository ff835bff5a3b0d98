//! The options of image import: what web-download may ask for, and what is done to images on their
//! way in.  Glance: sections `[import_filtering_opts]`, `[image_import_opts]`, `[image_conversion]`
//! and `[inject_metadata_properties]`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::network::Network;
use super::options::{self, ConfigOption};
use super::reader::{Reader, bad_value};
use crate::error::Result;

/// What is allowed and what is not; the second does not matter where there is something in the
/// first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrNot<T> {
    /// `allowed_…`
    pub allowed: Vec<T>,
    /// `disallowed_…`
    pub disallowed: Vec<T>,
}

/// A host as an operator writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfiguredHost {
    /// A name, in lower case, without a dot at its end.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// A plugin of Glance's that there is here, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportPlugin {
    /// `no_op`
    NoOp,
    /// `image_conversion`
    Conversion,
    /// `image_decompression`
    Decompression,
    /// `inject_image_metadata`
    InjectMetadata,
}

/// The options of image import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRules {
    /// Schemes of URIs, in lower case.  Default: `http` and `https`.
    pub schemes: AllowedOrNot<String>,
    /// Hosts in URIs.  Default: any.
    pub hosts: AllowedOrNot<ConfiguredHost>,
    /// Ports in URIs.  Default: 80 and 443.
    pub ports: AllowedOrNot<u16>,
    /// Networks that may be asked although they are not public.
    /// `[glancefs] web_download_networks`; default none.
    pub networks: Vec<Network>,
    /// What is done to images, in this order.  `image_import_plugins`; default nothing.
    pub plugins: Vec<ImportPlugin>,
    /// What images are converted to: `raw`, `qcow2` or `vmdk`.  `output_format`.
    pub output_format: String,
    /// Roles whose images get no properties.  `ignore_user_roles`; default `admin`.
    pub ignore_user_roles: Vec<String>,
    /// Properties that images get.  `inject`; default none.
    pub inject: BTreeMap<String, String>,
    /// How the names of properties begin that come with a peer's image.  `extra_properties`.
    pub peer_properties: Vec<String>,
}

impl ImportRules {
    pub(super) fn read(reader: &mut Reader) -> Result<Self> {
        Ok(Self {
            schemes: AllowedOrNot {
                allowed: bracketed(reader, &options::ALLOWED_SCHEMES, scheme)?,
                disallowed: bracketed(reader, &options::DISALLOWED_SCHEMES, scheme)?,
            },
            hosts: AllowedOrNot {
                allowed: bracketed(reader, &options::ALLOWED_HOSTS, host)?,
                disallowed: bracketed(reader, &options::DISALLOWED_HOSTS, host)?,
            },
            ports: AllowedOrNot {
                allowed: bracketed(reader, &options::ALLOWED_PORTS, port)?,
                disallowed: bracketed(reader, &options::DISALLOWED_PORTS, port)?,
            },
            networks: bracketed(reader, &options::WEB_DOWNLOAD_NETWORKS, str::parse)?,
            plugins: bracketed(reader, &options::IMAGE_IMPORT_PLUGINS, plugin)?,
            output_format: output_format(reader)?,
            ignore_user_roles: reader.list(&options::IGNORE_USER_ROLES)?,
            inject: inject(reader)?,
            peer_properties: bracketed(reader, &options::PEER_PROPERTIES, |text| {
                Ok(text.to_owned())
            })?,
        })
    }
}

/// A list as oslo.config has it with bounds: items between commas, the whole in brackets (which may
/// be missing here), each item perhaps in quotes.
pub(super) fn bracketed<T>(
    reader: &mut Reader,
    option: &ConfigOption,
    item: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Vec<T>> {
    let Some(found) = reader.text(option)? else { return Ok(Vec::new()) };
    let text = found.text.trim();
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    inner
        .split([',', '\n'])
        .map(|written| written.trim().trim_matches(['\'', '"']))
        .filter(|written| !written.is_empty())
        .map(|written| item(written).map_err(|wanted| bad_value(option, Some(&found), wanted)))
        .collect()
}

fn scheme(text: &str) -> Result<String, &'static str> {
    Ok(text.to_ascii_lowercase())
}

fn host(text: &str) -> Result<ConfiguredHost, &'static str> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Ok(ConfiguredHost::Address(address));
    }
    if text.contains(['/', ':', '*', '@', ' ']) {
        return Err("write names of hosts or addresses, without a port, as [mirror.example.org]");
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    Ok(ConfiguredHost::Name(name.to_ascii_lowercase()))
}

fn port(text: &str) -> Result<u16, &'static str> {
    text.parse().ok().filter(|port| *port != 0).ok_or("write ports from 1 to 65535, as [80, 443]")
}

fn plugin(text: &str) -> Result<ImportPlugin, &'static str> {
    match text {
        "no_op" => Ok(ImportPlugin::NoOp),
        "image_conversion" => Ok(ImportPlugin::Conversion),
        "image_decompression" => Ok(ImportPlugin::Decompression),
        "inject_image_metadata" => Ok(ImportPlugin::InjectMetadata),
        // Glance only logs it: but whoever asks for a plugin does not want images without it.
        _ => Err("there are image_conversion, image_decompression, inject_image_metadata, no_op"),
    }
}

fn output_format(reader: &mut Reader) -> Result<String> {
    let found = reader.text(&options::OUTPUT_FORMAT)?;
    let word = found.as_ref().map_or("", |found| found.text.trim());
    if ["raw", "qcow2", "vmdk"].contains(&word) {
        return Ok(word.to_owned());
    }
    Err(bad_value(&options::OUTPUT_FORMAT, found.as_ref(), "write raw, qcow2 or vmdk"))
}

/// Pairs as `name:value,name:value`; a value may hold colons.
fn inject(reader: &mut Reader) -> Result<BTreeMap<String, String>> {
    const LONGEST_NAME: usize = 255;
    let Some(found) = reader.text(&options::INJECT)? else { return Ok(BTreeMap::new()) };
    let pair = |text: &str| {
        let (name, value) = text.split_once(':')?;
        let (name, value) =
            (name.trim().trim_matches(['\'', '"']), value.trim().trim_matches(['\'', '"']));
        let usable = !name.is_empty() && name.chars().count() <= LONGEST_NAME;
        usable.then(|| (name.to_owned(), value.to_owned()))
    };
    found
        .text
        .split([',', '\n'])
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(|text| {
            let wanted = "write properties as name:value,name:value, names up to 255 characters";
            pair(text).ok_or_else(|| bad_value(&options::INJECT, Some(&found), wanted))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::ini;
    use super::*;

    fn read(text: &str) -> Result<ImportRules> {
        ImportRules::read(&mut Reader::of(vec![ini::parse(Path::new("t.conf"), text).unwrap()]))
    }

    #[test]
    fn the_defaults_are_glances() {
        let config = read("").unwrap();
        assert_eq!(config.schemes.allowed, ["http", "https"]);
        assert_eq!(config.ports.allowed, [80, 443]);
        assert_eq!(config.hosts, AllowedOrNot { allowed: vec![], disallowed: vec![] });
        assert!(config.networks.is_empty() && config.plugins.is_empty());
        assert_eq!(config.peer_properties[..2], ["hw_", "trait:"]);
        assert_eq!(config.output_format, "raw");
        assert_eq!(config.ignore_user_roles, ["admin"]);
    }

    #[test]
    fn lists_are_written_as_glance_documents_them() {
        let config = read(
            "[import_filtering_opts]\nallowed_schemes = []\ndisallowed_schemes = ['HTTP']\n\
             allowed_hosts = [Mirror.Example.org., 10.0.0.5, ::1]\nallowed_ports = [8080,81]\n\
             [image_import_opts]\nimage_import_plugins = ['image_decompression', \"no_op\"]\n\
             [glancefs]\nweb_download_networks = 10.0.0.0/8, fd00::/8\n",
        )
        .unwrap();
        assert_eq!(config.schemes.allowed, Vec::<String>::new());
        assert_eq!(config.schemes.disallowed, ["http"]);
        let address = |text: &str| ConfiguredHost::Address(text.parse().unwrap());
        let name = ConfiguredHost::Name("mirror.example.org".into());
        assert_eq!(config.hosts.allowed, [name, address("10.0.0.5"), address("::1")]);
        assert_eq!(config.ports.allowed, [8080, 81]);
        assert_eq!(config.plugins, [ImportPlugin::Decompression, ImportPlugin::NoOp]);
        assert_eq!(config.networks.len(), 2);
    }

    #[test]
    fn methods_may_be_in_brackets_and_quotes() {
        for text in ["[glance-direct,web-download]", "glance-direct, 'web-download'"] {
            let text = format!("[DEFAULT]\nenabled_import_methods = {text}\n");
            let files = vec![ini::parse(Path::new("t.conf"), &text).unwrap()];
            let methods = super::super::import::methods(&mut Reader::of(files)).unwrap();
            assert_eq!(methods, ["glance-direct", "web-download"]);
        }
    }

    #[test]
    fn properties_are_pairs() {
        let config = read(
            "[inject_metadata_properties]\ninject = a:1, 'b' : x:y ,\nignore_user_roles = r,s\n",
        );
        let config = config.unwrap();
        assert_eq!(config.inject["a"], "1");
        assert_eq!(config.inject["b"], "x:y");
        assert_eq!(config.ignore_user_roles, ["r", "s"]);
    }

    #[test]
    fn what_cannot_be_meant_is_an_error_with_its_place() {
        for (section, line) in [
            ("import_filtering_opts", "allowed_ports = [http]"),
            ("import_filtering_opts", "allowed_ports = [0]"),
            ("import_filtering_opts", "disallowed_hosts = [http://a]"),
            ("import_filtering_opts", "allowed_hosts = [a:80]"),
            ("import_filtering_opts", "allowed_hosts = [*.example.org]"),
            ("image_import_opts", "image_import_plugins = [image_convertion]"),
            ("image_conversion", "output_format = vdi"),
            ("inject_metadata_properties", "inject = a"),
            ("glancefs", "web_download_networks = 10.0.0.1/8"),
        ] {
            let error = read(&format!("[{section}]\n{line}\n")).unwrap_err().to_string();
            assert!(error.starts_with("t.conf:2: "), "{error}");
        }
    }
}

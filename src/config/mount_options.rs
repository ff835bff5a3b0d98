//! The options of `glancefs mount -o`: mount(8)'s syntax, our own words and the system's.
//!
//! What each option does to a file is decided in `fs`; this says only which were asked for.

use std::fmt;

use crate::error::{Error, Result};

/// What an option of `-o` is for, by the way it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownOption {
    /// The word; with a `=` when a value must follow.
    pub name: &'static str,
    /// One line of explanation.
    pub help: &'static str,
}

const fn known(name: &'static str, help: &'static str) -> KnownOption {
    KnownOption { name, help }
}

/// Every option that has an effect.
pub const KNOWN: &[KnownOption] = &[
    known("ro", "images can be read only; nothing can be changed through the mount"),
    known("rw", "images can be added, renamed and deleted (the default)"),
    known(
        "replace",
        "writing to the name of an existing image makes a new image that takes the name",
    ),
    known("chmod", "chmod o+r / o-r makes an image public / private, u-w / u+w protects it or not"),
    known(
        "allow_other",
        "other users of this machine may use the mount, as uid_map says, else as file modes let them",
    ),
    known("uid=", "numeric user that files belong to (default: who mounts)"),
    known("gid=", "numeric group that files belong to (default: who mounts)"),
    known("umask=", "octal mode bits that files never show"),
    known("nodev", "no device files (always so: there are none)"),
    known("dev", "the opposite of nodev"),
    known("nosuid", "no set-user-id files (always so: there are none)"),
    known("suid", "the opposite of nosuid"),
    known("noexec", "files cannot be run as programs"),
    known("exec", "the opposite of noexec"),
    known("noatime", "times of access are not kept"),
    known("atime", "the opposite of noatime"),
];

/// Words that mount(8), systemd and /etc/fstab use among themselves: accepted, without effect.
/// Those that start with `x-` or `comment=` are, too.
pub const IGNORED: &[&str] = &[
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "_netdev",
    "nofail",
    "relatime",
    "norelatime",
    "strictatime",
    "lazytime",
    "nolazytime",
    "diratime",
    "nodiratime",
    "async",
    "sync",
    "dirsync",
    "silent",
    "loud",
];

/// An option that the kernel acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelOption {
    /// `nodev`.
    NoDev,
    /// `dev`.
    Dev,
    /// `nosuid`.
    NoSuid,
    /// `suid`.
    Suid,
    /// `noexec`.
    NoExec,
    /// `exec`.
    Exec,
    /// `noatime`.
    NoAtime,
    /// `atime`.
    Atime,
}

impl KernelOption {
    const ALL: [Self; 8] = [
        Self::NoDev,
        Self::Dev,
        Self::NoSuid,
        Self::Suid,
        Self::NoExec,
        Self::Exec,
        Self::NoAtime,
        Self::Atime,
    ];

    /// The option as mount(8) spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoDev => "nodev",
            Self::Dev => "dev",
            Self::NoSuid => "nosuid",
            Self::Suid => "suid",
            Self::NoExec => "noexec",
            Self::Exec => "exec",
            Self::NoAtime => "noatime",
            Self::Atime => "atime",
        }
    }

    fn opposite(self) -> Self {
        match self {
            Self::NoDev => Self::Dev,
            Self::Dev => Self::NoDev,
            Self::NoSuid => Self::Suid,
            Self::Suid => Self::NoSuid,
            Self::NoExec => Self::Exec,
            Self::Exec => Self::NoExec,
            Self::NoAtime => Self::Atime,
            Self::Atime => Self::NoAtime,
        }
    }
}

/// The options of one mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// `ro`: nothing can be changed through the mount.
    pub read_only: bool,
    /// `replace`: writing to an existing name makes a new image that takes it.
    pub replace: bool,
    /// `chmod`: mode bits set visibility and protection.
    pub chmod: bool,
    /// `allow_other`: other users may use the mount.
    pub allow_other: bool,
    /// `uid=`: owner of all files, default the mounting user.
    pub uid: Option<u32>,
    /// `gid=`: group of all files, default the mounting user's.
    pub gid: Option<u32>,
    /// `umask=`: mode bits that are never shown.
    pub umask: Option<u32>,
    /// What the kernel acts on; never an option and its opposite.
    pub kernel: Vec<KernelOption>,
}

impl MountOptions {
    /// Reads the arguments of all `-o`, in order; later options win over earlier ones.
    ///
    /// # Errors
    /// `Config` for an option that does not exist, with those that do, or for a wrong value.
    pub fn parse<S: AsRef<str>>(arguments: &[S]) -> Result<Self> {
        let mut options = Self::default();
        for option in arguments.iter().flat_map(|argument| split(argument.as_ref())) {
            options.apply(&option)?;
        }
        Ok(options)
    }

    fn apply(&mut self, option: &str) -> Result<()> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        if option.is_empty() || IGNORED.contains(&option) {
            return Ok(());
        }
        if option.starts_with("x-") || option.starts_with("X-") || name == "comment" {
            return Ok(());
        }
        match (name, value) {
            ("ro", None) => self.read_only = true,
            ("rw", None) => self.read_only = false,
            ("replace", None) => self.replace = true,
            ("chmod", None) => self.chmod = true,
            ("allow_other", None) => self.allow_other = true,
            ("uid", Some(value)) => self.uid = Some(id(name, value)?),
            ("gid", Some(value)) => self.gid = Some(id(name, value)?),
            ("umask", Some(value)) => self.umask = Some(umask(value)?),
            (_, None) => match KernelOption::ALL.into_iter().find(|k| k.name() == name) {
                Some(kernel) => self.set_kernel(kernel),
                None => return Err(unknown(option)),
            },
            _ => return Err(unknown(option)),
        }
        Ok(())
    }

    fn set_kernel(&mut self, option: KernelOption) {
        self.kernel.retain(|other| *other != option && *other != option.opposite());
        self.kernel.push(option);
    }
}

/// As one argument of `-o`, defaults left out save for `ro` or `rw`.
impl fmt::Display for MountOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.read_only { "ro" } else { "rw" })?;
        let words =
            [(self.replace, "replace"), (self.chmod, "chmod"), (self.allow_other, "allow_other")];
        for (_, word) in words.iter().filter(|(set, _)| *set) {
            write!(f, ",{word}")?;
        }
        if let Some(uid) = self.uid {
            write!(f, ",uid={uid}")?;
        }
        if let Some(gid) = self.gid {
            write!(f, ",gid={gid}")?;
        }
        if let Some(umask) = self.umask {
            write!(f, ",umask={umask:03o}")?;
        }
        self.kernel.iter().try_for_each(|option| write!(f, ",{}", option.name()))
    }
}

/// Splits at commas, as mount(8) has them: none in double quotes separates, nor one after a backslash,
/// which takes a comma, a quote or a backslash after it as it is.
pub fn split(argument: &str) -> Vec<String> {
    let (mut options, mut option, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = argument.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                let escaped = characters.next_if(|next| matches!(next, ',' | '"' | '\\'));
                option.push(escaped.unwrap_or(character));
            }
            '"' => quoted = !quoted,
            ',' if !quoted => options.push(std::mem::take(&mut option)),
            _ => option.push(character),
        }
    }
    options.push(option);
    options
}

/// The opposite of [`split`].
pub fn join<S: AsRef<str>>(options: &[S]) -> String {
    let escape = |option: &S| {
        ['\\', ',', '"'].iter().fold(option.as_ref().to_owned(), |text, special| {
            text.replace(*special, &format!("\\{special}"))
        })
    };
    options.iter().map(escape).collect::<Vec<_>>().join(",")
}

/// Whether an option is one of those that have an effect, or that are accepted without one.
pub fn is_known(option: &str) -> bool {
    !matches!(MountOptions::default().apply(option), Err(Error::Config(what)) if what.contains(UNKNOWN))
}

/// What a message says of an option that does not exist.
const UNKNOWN: &str = "is unknown";

fn id(name: &str, value: &str) -> Result<u32> {
    // The highest number means "nobody in particular" to the kernel.
    value.parse().ok().filter(|id| *id != u32::MAX).ok_or_else(|| {
        Error::Config(format!("-o {name}={value} is not a number: write for example {name}=1000"))
    })
}

fn umask(value: &str) -> Result<u32> {
    u32::from_str_radix(value, 8).ok().filter(|mask| *mask <= 0o777).ok_or_else(|| {
        Error::Config(format!("-o umask={value} is not an octal mask: write for example umask=027"))
    })
}

fn unknown(option: &str) -> Error {
    let names: Vec<_> = KNOWN.iter().map(|known| known.name).collect();
    Error::Config(format!("-o {option} {UNKNOWN}; there are: {}", names.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(argument: &str) -> MountOptions {
        MountOptions::parse(&[argument]).unwrap()
    }

    #[test]
    fn commas_are_quoted_or_escaped_as_in_mount() {
        assert_eq!(split(r#"a="x,y",b\,c,d\\,e\f,g\"h"#), ["a=x,y", "b,c", r"d\", r"e\f", "g\"h"]);
        let odd = ["a,b", r"c\", "d\"e", ""];
        assert_eq!(split(&join(&odd)), odd);
    }

    #[test]
    fn later_options_win() {
        assert!(parse("rw,ro").read_only);
        assert!(!parse("ro,rw").read_only);
        assert_eq!(parse("nodev,noexec,dev").kernel, [KernelOption::NoExec, KernelOption::Dev]);
        assert!(!MountOptions::parse(&["ro", "rw"]).unwrap().read_only);
    }

    #[test]
    fn what_fstab_passes_is_accepted() {
        let options = parse("defaults,_netdev,nofail,x-systemd.automount,user,noauto,,relatime");
        assert_eq!(options, MountOptions::default());
        assert_eq!(parse("comment=a\\,ro"), MountOptions::default());
    }

    #[test]
    fn a_backslash_protects_a_comma() {
        assert_eq!(split("a\\,b,c\\\\,d\\e"), ["a,b", "c\\", "d\\e"]);
        assert!(!parse("x-note=a\\,ro").read_only);
    }

    #[test]
    fn values_are_checked() {
        let options = parse("uid=5,gid=6,umask=027");
        assert_eq!((options.uid, options.gid, options.umask), (Some(5), Some(6), Some(0o27)));
        for wrong in ["uid=bob", "uid=4294967295", "umask=8", "umask=1000", "gid=", "uid", "ro=1"] {
            assert!(MountOptions::parse(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_option_is_answered_with_the_known_ones() {
        let message = MountOptions::parse(&["ro,sloppy"]).unwrap_err().to_string();
        assert!(message.starts_with("-o sloppy is unknown"), "{message}");
        for known in KNOWN {
            assert!(message.contains(known.name));
        }
    }

    #[test]
    fn every_known_option_is_accepted_and_shown_again() {
        for known in KNOWN {
            let option =
                format!("{}{}", known.name, if known.name.ends_with('=') { "7" } else { "" });
            let options = parse(&option);
            assert_eq!(parse(&options.to_string()), options, "{option}");
        }
        assert_eq!(
            parse("chmod,umask=7,noexec,uid=1").to_string(),
            "rw,chmod,uid=1,umask=007,noexec"
        );
    }
}

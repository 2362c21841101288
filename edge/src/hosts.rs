//! By which names browsers may ask for this edge.
//!
//! A page of a foreign site can have its own name point to this box's address after it was loaded, and then reads from here
//! what it likes, as a page of the same origin (DNS rebinding). Its requests carry that name, so only names of the box are
//! answered. An address needs no list: a page that came from an address came from whoever has it.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The names of this box, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// `localhost`, the machine's name with and without `.local`, and those that somebody configured.
    pub fn new(machine: &str, names: &[String]) -> Self {
        let machine = machine.to_lowercase();
        let first = machine.split('.').next().unwrap_or_default().to_owned();
        let local = format!("{first}.local");
        let own = ["localhost".to_owned(), machine, first, local].into_iter().filter(|name| is_name(name));
        Self(own.chain(names.iter().map(|name| name.to_lowercase())).collect())
    }

    /// Those of the machine that this process runs on.
    pub fn of_this_machine(names: &[String]) -> Self {
        Self::new(&rustix::system::uname().nodename().to_string_lossy(), names)
    }

    /// Each of them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a request may be for `authority`, which is a name or an address with a port or without one.
    pub fn allow(&self, authority: &str) -> bool {
        if let Some((address, port)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            return address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || is_port(port));
        }
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let host = host.strip_suffix('.').unwrap_or(host).to_lowercase();
        (port.is_empty() || is_port(port)) && (host.parse::<Ipv4Addr>().is_ok() || self.0.contains(&host))
    }
}

/// Whether a text is a host's name: labels of letters, digits, `-` and `_`, with dots in between.
pub fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_the_boxs_own_names_are_allowed_and_nothing_that_looks_like_them() {
        let hosts = Hosts::new("Box-7.acme.lan", &["Edge.Acme.example".to_owned()]);
        for authority in [
            "127.0.0.1:7410",
            "127.0.0.1",
            "10.1.2.3:80",
            "[::1]:7410",
            "[fe80::1]",
            "localhost:7410",
            "LOCALHOST",
            "localhost.",
            "box-7",
            "box-7.local:7410",
            "box-7.acme.lan",
            "edge.acme.example",
        ] {
            assert!(hosts.allow(authority), "{authority}");
        }
        for authority in [
            "",
            "evil.example",
            "evil.example:7410",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "127.1",
            "0x7f000001",
            "[::1]evil.example",
            "[::1",
            "::1",
            "localhost:evil",
            "localhost:7410:1",
            "box-7.evil.example",
            "acme.lan",
            "local",
            ".local",
            ".",
        ] {
            assert!(!hosts.allow(authority), "{authority}");
        }
    }

    #[test]
    fn a_machine_without_a_name_makes_no_empty_one() {
        assert_eq!(Hosts::new("", &[]), Hosts(vec!["localhost".to_owned()]));
        assert_eq!(Hosts::new("a b", &[]), Hosts(vec!["localhost".to_owned()]));
    }
}

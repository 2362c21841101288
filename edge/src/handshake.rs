//! Why TLS with a hub did not come about, as a technician understands it, and what to do.
//!
//! It is read from the errors' types, never from their texts. Whatever is not named here is told as rustls tells it.

use std::error::Error;
use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use crate::times;
use crate::trust::{CertificateTime, Judged, Transport, Witness};

/// Why TLS with a hub did not come about.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Trouble {
    /// The certificate's time is over.
    #[error("the hub's certificate ended at {}, and {}: {}", times::timestamp(*.not_after_ms), says(*.judged), ended(*.not_after_ms, *.judged, *.hub_ms))]
    Expired {
        /// Its end, in Unix milliseconds.
        not_after_ms: u64,
        /// At what time it was judged.
        judged: Judged,
        /// What time it is by the hub, if that is known.
        hub_ms: Option<u64>,
    },
    /// The certificate's time has not come.
    #[error("the hub's certificate begins at {}, and {}: set this box's clock; if it is right, the one of the machine that made the certificate is not", times::timestamp(*.not_before_ms), says(*.judged))]
    NotYetValid {
        /// Its beginning, in Unix milliseconds.
        not_before_ms: u64,
        /// At what time it was judged.
        judged: Judged,
    },
    /// Nobody whom this edge trusts has signed the certificate.
    #[error("{}", untrusted(*.pinned))]
    UnknownIssuer {
        /// Whether this edge trusts one CA, and not the system's.
        pinned: bool,
    },
    /// The certificate is another machine's.
    #[error("the hub's certificate is for {}, and not for the name in this URL: give the URL by a name that it is for, or have one made for this one (`hub ca issue --name HOST`)", named(.presented))]
    WrongName {
        /// Whose it is.
        presented: Vec<String>,
    },
    /// The answer is no TLS.
    #[error(
        "what answers speaks no TLS: most likely the hub serves plain HTTP; give it a certificate (HUB_TLS_CERT and HUB_TLS_KEY)"
    )]
    NoTls,
    /// Plain HTTP was spoken, and the answer is no HTTP.
    #[error("what answers speaks no plain HTTP: most likely the hub serves TLS; give its URL with https://")]
    NoPlainHttp,
    /// Only versions of TLS are offered that are not safe.
    #[error(
        "what answers speaks neither TLS 1.2 nor 1.3, and nothing older is safe: upgrade it, or what stands before the hub"
    )]
    TooOld,
    /// Anything else.
    #[error("TLS failed ({0}): ask HQ for `hub doctor`, and see what stands between this site and the hub")]
    Other(rustls::Error),
}

impl Trouble {
    /// What an error of a request has to do with TLS; `None` when it is about something else.
    pub fn of(
        error: &(dyn Error + 'static),
        to: Option<Transport>,
        pinned: bool,
        time: &CertificateTime,
    ) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = tls_error(error) {
                return Some(Self::named(found, pinned, time));
            }
            let is_no_http = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
            if is_no_http && matches!(to, Some(Transport::Loopback | Transport::PlainHttp)) {
                return Some(Self::NoPlainHttp);
            }
            next = error.source();
        }
        None
    }

    fn named(error: &rustls::Error, pinned: bool, time: &CertificateTime) -> Self {
        let judged_at = |at: &UnixTime| Judged { unix_ms: unix_ms(*at), ..time.judged() };
        match error {
            rustls::Error::InvalidCertificate(problem) => match problem {
                CertificateError::ExpiredContext { time: at, not_after } => {
                    Self::Expired { not_after_ms: unix_ms(*not_after), judged: judged_at(at), hub_ms: time.hub_ms() }
                }
                CertificateError::NotValidYetContext { time: at, not_before } => {
                    Self::NotYetValid { not_before_ms: unix_ms(*not_before), judged: judged_at(at) }
                }
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer { pinned },
                CertificateError::NotValidForNameContext { presented, .. } => {
                    Self::WrongName { presented: presented.clone() }
                }
                CertificateError::NotValidForName => Self::WrongName { presented: Vec::new() },
                _ => Self::Other(error.clone()),
            },
            rustls::Error::InvalidMessage(_) => Self::NoTls,
            rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
            | rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::TooOld,
            _ => Self::Other(error.clone()),
        }
    }
}

/// The error of TLS that an error is, or that it wraps: an `io::Error` does not name what it wraps as its source.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let wrapped = || error.downcast_ref::<io::Error>()?.get_ref().and_then(|wrapped| tls_error(wrapped));
    error.downcast_ref().or_else(wrapped)
}

fn unix_ms(time: UnixTime) -> u64 {
    time.as_secs().saturating_mul(1000)
}

fn says(Judged { unix_ms, by }: Judged) -> String {
    let time = times::timestamp(unix_ms);
    match by {
        Witness::Clock => format!("this box's clock says {time}"),
        Witness::Build => format!("this program was built at {time}"),
        Witness::Hub => format!("it is {time} by what the hub said last"),
    }
}

/// What to do about a certificate that has ended: whether the clock is to blame is known when the hub has said the time.
fn ended(not_after_ms: u64, judged: Judged, hub_ms: Option<u64>) -> String {
    const RENEW: &str = "renew it at the hub (`hub ca issue`, then start the hub again)";
    match (judged.by, hub_ms) {
        (Witness::Clock, Some(hub_ms)) if hub_ms <= not_after_ms => {
            let time = times::timestamp(hub_ms);
            format!(
                "by the hub it was {time} when it was last heard, so set this box's clock; if that is right, {RENEW}"
            )
        }
        (Witness::Clock, _) => format!("{RENEW}, or set this box's clock if it is wrong"),
        (Witness::Build | Witness::Hub, _) => RENEW.to_owned(),
    }
}

fn untrusted(pinned: bool) -> &'static str {
    match pinned {
        true => {
            "the hub's certificate is not signed by the CA that this edge was enrolled with: it may be another server, or somebody \
             in between (sign in to this network); if HQ has changed its CA, ask for a new code and run `edge enroll --code CODE \
             --ca FILE`"
        }
        false => {
            "the hub's certificate is not signed by a CA that this system trusts: if HQ has a CA of its own, enrol with `--ca FILE`; \
             else it may be another server, or somebody in between (sign in to this network)"
        }
    }
}

fn named(presented: &[String]) -> String {
    match presented {
        [] => "another name".to_owned(),
        names => names.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", "),
    }
}

/// A name without what rustls writes around it: `DnsName("hub.example.com")`, `IpAddress(192.0.2.7)`.
fn bare(name: &str) -> &str {
    name.split_once('(').map_or(name, |(_, inner)| inner.trim_end_matches(')').trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;
    use rustls::pki_types::ServerName;

    use super::*;
    use crate::clock::Clock;

    const SECOND_MS: u64 = 1_800_000_000_000;

    fn at(unix_ms: u64) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_millis(unix_ms))
    }

    fn told(error: rustls::Error) -> String {
        // As the layers between rustls and the client wrap it, which do not all name their source.
        let wrapped = io::Error::other(io::Error::other(error));
        let time = CertificateTime::new(Clock::new(), None);
        let trouble = Trouble::of(&wrapped, Some(Transport::Tls), false, &time);
        trouble.expect("it is about TLS").to_string()
    }

    #[test]
    fn every_trouble_with_a_certificate_says_what_it_is_and_what_to_do() {
        let (time, end) = (at(SECOND_MS + 1000), at(SECOND_MS));
        let expected = "localhost".try_into().map(|name: ServerName<'_>| name.to_owned()).unwrap();
        let presented = vec!["DnsName(\"hub.example.com\")".to_owned(), "IpAddress(2001:db8::1)".to_owned()];
        let certificate = rustls::Error::InvalidCertificate;
        let cases = [
            (certificate(CertificateError::ExpiredContext { time, not_after: end }), "ended at 2027-01-15T08:00:00"),
            (certificate(CertificateError::NotValidYetContext { time: end, not_before: time }), "set this box's clock"),
            (certificate(CertificateError::UnknownIssuer), "enrol with `--ca FILE`"),
            (
                certificate(CertificateError::NotValidForNameContext { expected, presented }),
                "is for hub.example.com, 2001:db8::1, and not",
            ),
            (rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), "speaks no TLS"),
            (PeerIncompatible::ServerDoesNotSupportTls12Or13.into(), "neither TLS 1.2 nor 1.3"),
            (rustls::Error::AlertReceived(AlertDescription::ProtocolVersion), "neither TLS 1.2 nor 1.3"),
            (rustls::Error::AlertReceived(AlertDescription::InternalError), "InternalError"),
        ];
        for (error, words) in cases {
            let told = told(error);
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn the_clock_is_blamed_for_an_ended_certificate_when_the_hub_said_another_time() {
        let ended = |by, hub_ms| {
            let judged = Judged { unix_ms: 2 * SECOND_MS, by };
            Trouble::Expired { not_after_ms: SECOND_MS, judged, hub_ms }.to_string()
        };
        let blamed = ended(Witness::Clock, Some(SECOND_MS - 1));
        assert!(
            blamed.contains("this box's clock says 2084") && blamed.contains("so set this box's clock"),
            "{blamed}"
        );
        for told in [ended(Witness::Clock, None), ended(Witness::Clock, Some(SECOND_MS + 1))] {
            assert!(told.contains("hub ca issue") && told.contains("if it is wrong"), "{told}");
        }
        for told in [ended(Witness::Hub, Some(2 * SECOND_MS)), ended(Witness::Build, None)] {
            assert!(told.contains("hub ca issue") && !told.contains("set this box's clock"), "{told}");
        }
    }

    #[test]
    fn what_is_not_about_tls_is_left_alone() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let time = CertificateTime::new(Clock::new(), None);
        assert_eq!(Trouble::of(&refused, Some(Transport::Tls), true, &time), None);
    }
}

//! Settings from the kernel command line (Ironic's `ipa-*` names) and from flags.
//!
//! In the ramdisk everything comes from the kernel command line; outside it only flags count, because a developer's
//! own `/proc/cmdline` is about the developer's machine.

mod ironic;

use std::time::Duration;

pub use ironic::Ironic;
use secrecy::SecretString;
use url::Url;

/// How long one request may take (`ipa-http-request-timeout`), Ironic's default.
const HTTP_TIMEOUT_S: u64 = 30;
/// How long a lookup is repeated before the process gives up and is restarted (`ipa-lookup-timeout`), Ironic's default.
const LOOKUP_TIMEOUT_S: u64 = 600;
/// Shortest wait between lookups (`ipa-lookup-interval`), Ironic's default.
const LOOKUP_INTERVAL_S: u64 = 1;

/// How long the switches are listened to (`ipa-lldp-timeout`), Ironic's default.
const LLDP_TIMEOUT_S: u64 = 30;

/// What the agent must know to find its coordinator.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Base URLs of the coordinator (without `/v1`), tried in order.
    pub api_urls: Vec<Url>,
    /// The one-time nonce of this boot.
    pub nonce: Option<SecretString>,
    /// SHA-256 of the coordinator's certificate (DER).
    pub tls_pin: Option<[u8; 32]>,
    /// The network card that booted, lowercase with colons.
    pub bootif: Option<String>,
    /// Sent as `X-OpenStack-Request-ID`.
    pub request_id: Option<String>,
    /// A lookup is repeated this long.
    pub lookup_timeout: Duration,
    /// Shortest wait between lookups.
    pub lookup_interval: Duration,
    /// One request may take this long.
    pub http_timeout: Duration,
    /// What only a conductor of Ironic's own says.
    pub ironic: Ironic,
    /// The switches are listened to for so long.
    pub lldp_timeout: Duration,
}

/// Why the settings cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No coordinator is named.
    #[error(
        "no coordinator is named: the boot script must put ipa-api-url=URL on the kernel command line (outside the ramdisk: --api-url URL)"
    )]
    NoApiUrl,
    /// A URL that cannot be used.
    #[error(
        "{key} \"{text}\" is not an http(s) URL of a coordinator ({why}); mdns is not part of this version"
    )]
    ApiUrl {
        /// The key.
        key: &'static str,
        /// As given.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// A URL carries credentials, which would end up in logs.
    #[error(
        "{key} for host {host} carries a user or password; remove it, the agent's token is its credential"
    )]
    Credentials {
        /// The key.
        key: &'static str,
        /// The host.
        host: String,
    },
    /// An address that is none.
    #[error("{key}={text} is not {what}")]
    Value {
        /// The key.
        key: &'static str,
        /// As given.
        text: String,
        /// What it must be.
        what: &'static str,
    },
    /// The pin is not a SHA-256.
    #[error(
        "ironwright.tls must be 64 hexadecimal digits (SHA-256 of the coordinator's certificate, DER), it has {digits} characters"
    )]
    Pin {
        /// Characters given.
        digits: usize,
    },
    /// The nonce is not hexadecimal.
    #[error("ironwright.nonce must be 1 to 128 hexadecimal digits, it has {digits} characters")]
    Nonce {
        /// Characters given; the nonce itself is a secret.
        digits: usize,
    },
    /// A number of seconds that is none.
    #[error("{key}={text} is not a number of seconds in 1 ..= 86400")]
    Seconds {
        /// The key.
        key: &'static str,
        /// As given.
        text: String,
    },
}

/// The `key=value` items of a kernel command line. The last one of a key wins; words without `=` (UEFI firmware puts
/// the file name in front) are skipped.
#[derive(Debug, Default, Clone)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Splits a kernel command line.
    #[must_use]
    pub fn parse(cmdline: &str) -> Self {
        let items = cmdline.split_ascii_whitespace().filter_map(|word| word.split_once('='));
        Self(items.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    /// Adds the items of `text`, which win over everything before.
    pub fn merge(&mut self, text: &str) {
        self.0.extend(Self::parse(text).0);
    }

    /// Sets `key`, winning over everything before.
    pub fn set(&mut self, key: &str, value: &str) {
        self.0.push((key.to_owned(), value.to_owned()));
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn seconds(&self, key: &'static str, default: u64) -> Result<Duration, SettingsError> {
        let Some(text) = self.get(key) else { return Ok(Duration::from_secs(default)) };
        match text.parse::<u64>() {
            Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
            _ => Err(SettingsError::Seconds { key, text: text.to_owned() }),
        }
    }
}

impl Settings {
    /// Reads the settings out of `parameters`.
    ///
    /// # Errors
    /// [`SettingsError`], which names the key and what it must look like.
    pub fn from_parameters(parameters: &Parameters) -> Result<Self, SettingsError> {
        let api_urls = urls("ipa-api-url", parameters.get("ipa-api-url").unwrap_or_default())?;
        let tls_pin = parameters.get("ironwright.tls").map(pin).transpose()?;
        let ironic = Ironic::from_parameters(parameters, &api_urls)?;
        // A conductor that only inspects names no API.
        if api_urls.is_empty() && ironic.inspection.is_none() {
            return Err(SettingsError::NoApiUrl);
        }
        Ok(Self {
            ironic,
            api_urls,
            nonce: parameters.get("ironwright.nonce").map(nonce).transpose()?,
            tls_pin,
            bootif: parameters.get("BOOTIF").and_then(normal_mac),
            request_id: parameters.get("ipa-global-request-id").map(str::to_owned),
            lookup_timeout: parameters.seconds("ipa-lookup-timeout", LOOKUP_TIMEOUT_S)?,
            lookup_interval: parameters.seconds("ipa-lookup-interval", LOOKUP_INTERVAL_S)?,
            http_timeout: parameters.seconds("ipa-http-request-timeout", HTTP_TIMEOUT_S)?,
            lldp_timeout: parameters.seconds("ipa-lldp-timeout", LLDP_TIMEOUT_S)?,
        })
    }
}

fn urls(key: &'static str, list: &str) -> Result<Vec<Url>, SettingsError> {
    let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty());
    texts.map(|text| api_url(key, text)).collect()
}

fn api_url(key: &'static str, text: &str) -> Result<Url, SettingsError> {
    let refuse = |why: String| SettingsError::ApiUrl { key, text: text.to_owned(), why };
    let url = Url::parse(text).map_err(|error| refuse(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse(format!("scheme is {}", url.scheme())));
    }
    let host = url.host_str().ok_or_else(|| refuse("no host".to_owned()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SettingsError::Credentials { key, host: host.to_owned() });
    }
    Ok(url)
}

fn pin(text: &str) -> Result<[u8; 32], SettingsError> {
    let refuse = || SettingsError::Pin { digits: text.chars().count() };
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(refuse());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| refuse())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| refuse())?;
    }
    Ok(bytes)
}

fn nonce(text: &str) -> Result<SecretString, SettingsError> {
    if matches!(text.len(), 1..=128) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(SecretString::from(text.to_owned()))
    } else {
        Err(SettingsError::Nonce { digits: text.chars().count() })
    }
}

/// `01-aa-bb-cc-dd-ee-ff` (PXELINUX puts the hardware type first) or `aa:bb:cc:dd:ee:ff`, as lowercase with colons.
#[must_use]
pub fn normal_mac(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase().replace('-', ":");
    let mac = if text.len() == 20 { text.get(3..)? } else { text.as_str() };
    let parts: Vec<&str> = mac.split(':').collect();
    let good = parts.len() == 6
        && parts.iter().all(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok());
    good.then(|| mac.to_owned())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const PIN: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

    fn read(cmdline: &str) -> Result<Settings, SettingsError> {
        Settings::from_parameters(&Parameters::parse(cmdline))
    }

    #[test]
    fn a_command_line_is_read_or_refused_by_the_name_of_what_is_wrong() {
        let long_nonce = format!("ipa-api-url=http://h ironwright.nonce={}", "a".repeat(129));
        let https = format!("ipa-api-url=https://h:1 ironwright.tls={PIN}");
        for (cmdline, expected) in [
            ("vmlinuz quiet ipa-api-url=http://10.0.0.1:6385", Ok(1)),
            ("ipa-api-url=http://a,https://b ironwright.tls=00", Err("64 hexadecimal digits")),
            ("ipa-api-url=http://a:1/,http://b", Ok(2)),
            ("ipa-api-url=mdns ipa-api-url=http://last.wins", Ok(1)),
            (&https, Ok(1)),
            ("quiet", Err("no coordinator is named")),
            ("ipa-api-url=,", Err("no coordinator is named")),
            ("ipa-api-url=mdns", Err("not an http(s) URL")),
            ("ipa-api-url=ftp://h", Err("scheme is ftp")),
            ("ipa-api-url=https://h", Ok(1)),
            ("ipa-inspection-callback-url=http://h:6385/v1/continue_inspection", Ok(0)),
            ("ipa-inspection-callback-url=nowhere", Err("ipa-inspection-callback-url")),
            (
                "ipa-api-url=http://h ipa-listen-port=99999",
                Err("ipa-listen-port=99999 is not a port"),
            ),
            ("ipa-api-url=http://u:p@h", Err("carries a user or password")),
            ("ipa-api-url=http://h ironwright.nonce=xyz", Err("hexadecimal digits")),
            (&long_nonce, Err("it has 129 characters")),
            ("ipa-api-url=http://h ipa-lookup-timeout=0", Err("1 ..= 86400")),
            ("ipa-api-url=http://h ipa-lookup-interval=soon", Err("ipa-lookup-interval=soon")),
        ] {
            match (read(cmdline), expected) {
                (Ok(settings), Ok(urls)) => assert_eq!(settings.api_urls.len(), urls, "{cmdline}"),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{cmdline}: {error}");
                }
                (got, _) => panic!("{cmdline}: {got:?}"),
            }
        }
    }

    #[test]
    fn every_value_reaches_its_field() {
        let settings = read(&format!(
            "initrd=initrd ipa-api-url=http://10.0.0.1:6385 ironwright.nonce=00ff ironwright.tls={PIN} \
             BOOTIF=01-52-54-00-AA-bb-0c ipa-lookup-timeout=60 ipa-lookup-interval=2 \
             ipa-http-request-timeout=9 ipa-global-request-id=req-1"
        ))
        .unwrap();
        assert_eq!(settings.nonce.unwrap().expose_secret(), "00ff");
        assert_eq!(settings.tls_pin.unwrap()[..4], [0x00, 0x11, 0x22, 0x33]);
        assert_eq!(settings.bootif.as_deref(), Some("52:54:00:aa:bb:0c"));
        assert_eq!(settings.lookup_timeout, Duration::from_secs(60));
        assert_eq!(settings.lookup_interval, Duration::from_secs(2));
        assert_eq!(settings.http_timeout, Duration::from_secs(9));
        assert_eq!(settings.request_id.as_deref(), Some("req-1"));
    }

    #[test]
    fn a_mac_is_read_in_both_spellings_and_nonsense_is_none() {
        for (text, expected) in [
            ("01-52-54-00-12-34-56", Some("52:54:00:12:34:56")),
            ("52:54:00:12:34:56", Some("52:54:00:12:34:56")),
            ("52:54:00:12:34", None),
            ("ää-52-54-00-12-34-56", None),
            ("", None),
        ] {
            assert_eq!(normal_mac(text).as_deref(), expected, "{text}");
        }
    }
}

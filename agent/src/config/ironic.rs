//! Parameters that conductors of Ironic's own put on the kernel command line.

use std::net::IpAddr;
use std::str::FromStr;

use secrecy::SecretString;
use url::Url;

use super::{Parameters, SettingsError, urls};
use crate::ironic::Listen;
use crate::ironic::inspection::Wanted;

/// Ironic's port of agents.
const PORT: u16 = 9999;
/// What an inspection collects that names nothing.
const COLLECTORS: &str = "default,logs";

/// What only a conductor of Ironic's own says.
#[derive(Debug, Clone)]
pub struct Ironic {
    /// `ipa-inspection-callback-url` or `ipa-inspection-collectors`: inspect before the lookup.
    pub inspection: Option<Wanted>,
    /// `ipa-agent-token`: the token that came with the boot medium.
    pub token: Option<SecretString>,
    /// Where commands are taken.
    pub listen: Listen,
    /// `ipa-insecure`: take any certificate of the API.
    pub insecure: bool,
}

impl Ironic {
    /// Reads them.
    ///
    /// # Errors
    /// [`SettingsError`]
    pub(super) fn from_parameters(
        parameters: &Parameters,
        api_urls: &[Url],
    ) -> Result<Self, SettingsError> {
        let collectors = parameters.get("ipa-inspection-collectors");
        let key = "ipa-inspection-callback-url";
        let mut callbacks = urls(key, parameters.get(key).unwrap_or_default())?;
        if callbacks.is_empty() && collectors.is_some() {
            callbacks = api_urls.iter().map(continuation).collect();
        }
        let names = collectors.filter(|names| !names.is_empty()).unwrap_or(COLLECTORS);
        let inspection = (!callbacks.is_empty()).then(|| Wanted {
            urls: callbacks,
            collectors: names.split(',').map(|name| name.trim().to_owned()).collect(),
        });
        let listen = Listen {
            port: value(parameters, "ipa-listen-port", "a port")?.unwrap_or(PORT),
            advertise_host: value::<IpAddr>(parameters, "ipa-advertise-host", "an IP address")?,
            advertise_port: value(parameters, "ipa-advertise-port", "a port")?,
        };
        let token = parameters.get("ipa-agent-token").map(SecretString::from);
        let insecure = matches!(parameters.get("ipa-insecure"), Some("1" | "true" | "True"));
        Ok(Self { inspection, token, listen, insecure })
    }
}

/// Where an API takes inspections.
fn continuation(api: &Url) -> Url {
    let mut url = api.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["v1", "continue_inspection"]);
    }
    url
}

fn value<T: FromStr>(
    parameters: &Parameters,
    key: &'static str,
    what: &'static str,
) -> Result<Option<T>, SettingsError> {
    let Some(text) = parameters.get(key) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| SettingsError::Value { key, text: text.to_owned(), what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn read(line: &str) -> Ironic {
        Settings::from_parameters(&Parameters::parse(line)).unwrap().ironic
    }

    #[test]
    fn an_inspection_is_wanted_by_its_address_or_by_its_collectors() {
        let wanted = read("ipa-inspection-callback-url=http://h/v1/continue_inspection").inspection;
        let wanted = wanted.unwrap();
        assert_eq!(wanted.collectors, ["default", "logs"]);
        let named = read("ipa-api-url=http://h:6385 ipa-inspection-collectors=default,lldp");
        let named = named.inspection.unwrap();
        assert_eq!(named.urls[0].as_str(), "http://h:6385/v1/continue_inspection");
        assert_eq!(named.collectors, ["default", "lldp"]);
        assert!(read("ipa-api-url=http://h").inspection.is_none());
    }

    #[test]
    fn ports_and_addresses_have_ironics_defaults() {
        let plain = read("ipa-api-url=http://h");
        assert_eq!((plain.listen.port, plain.listen.advertise_host), (9999, None));
        let other = read("ipa-api-url=http://h ipa-advertise-host=192.0.2.7 ipa-advertise-port=80");
        assert_eq!(other.listen.advertise_host, Some("192.0.2.7".parse().unwrap()));
        assert_eq!(other.listen.advertise_port, Some(80));
    }
}

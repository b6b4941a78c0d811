//! `verify-certificate`: is this file a proof that a disk was erased, and for whom?

use std::collections::HashSet;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use ironwright_api::{Category, EraseMethod, SignedCertificate};

use super::{fits, plain, proves};

/// What a certificate must come up to.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The coordinator's public key; none: nobody is trusted, and nothing can be proven.
    pub coordinator: Option<String>,
    /// The weakest category that counts as erased.
    pub least: Category,
}

/// What is to be said of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What it says, in plain words, one thing a line.
    pub words: String,
    /// Why it is no proof; none: valid, and the disk was erased.
    pub problem: Option<String>,
}

/// Reads a certificate as the API gives it and says what it is worth.
#[must_use]
pub fn verify(text: &str, expected: &Expected) -> Verdict {
    match serde_json::from_str::<SignedCertificate>(text) {
        Ok(signed) => {
            let problem = unsigned(text, &signed).or_else(|| problem(&signed, expected).err());
            Verdict { words: plain::words(&signed), problem }
        }
        Err(error) => Verdict {
            words: String::new(),
            problem: Some(format!("it is not a signed certificate: {error}")),
        },
    }
}

/// The coordinator's own record beside what is signed, as the API gives it.
const RECORD: [&str; 2] = ["id", "received_at"];

/// What the file says beside what is signed: a program that reads the file, and not what was verified, would believe it.
fn unsigned(text: &str, signed: &SignedCertificate) -> Option<String> {
    if let Err(error) = serde_json::from_str::<Unambiguous>(text) {
        return Some(format!("two programs may read it in two ways: {error}"));
    }
    let mut raw = serde_json::from_str::<serde_json::Map<_, _>>(text).ok()?;
    for name in RECORD {
        if raw.remove(name).is_some_and(|value: Value| !value.is_string()) {
            return Some(format!("its {name} is no text"));
        }
    }
    let signed = serde_json::to_value(signed).ok()?;
    (Value::Object(raw) != signed)
        .then(|| "it contains something that is not signed, or spells it in another way".to_owned())
}

/// JSON in which no object has a key twice (RFC 8259, 4: of such objects each program takes what it likes).
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(Self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some((key, Self)) = entries.next_entry::<String, Self>()? {
            if let Some(key) = keys.replace(key) {
                return Err(serde::de::Error::custom(format_args!(
                    "the key {key:?} is there twice"
                )));
            }
        }
        Ok(Self)
    }
}

fn problem(signed: &SignedCertificate, expected: &Expected) -> Result<(), String> {
    let certificate = &signed.certificate;
    let text = certificate.canonical_text().map_err(|error| error.to_string())?;
    if !fits(&signed.agent, &text) {
        return Err(
            "the agent's signature does not fit: the certificate was changed after it was signed"
                .into(),
        );
    }
    let seal = signed
        .coordinator
        .as_ref()
        .ok_or("no coordinator countersigned it: it was made by hand, or was never accepted")?;
    let text = certificate.countersigned_text(&signed.agent).map_err(|error| error.to_string())?;
    if !fits(seal, &text) {
        return Err(
            "the coordinator's signature does not fit: certificate or agent's key were changed"
                .into(),
        );
    }
    match &expected.coordinator {
        None => {
            return Err(format!(
                "both signatures fit, but nothing says that key {} is your coordinator's: give it with --key, or \
                 --state-dir on the coordinator itself",
                seal.public_key
            ));
        }
        Some(key) if !key.eq_ignore_ascii_case(&seal.public_key) => {
            return Err(format!(
                "it is countersigned with key {}, not with the coordinator's key {key}",
                seal.public_key
            ));
        }
        Some(_) => {}
    }
    proves(certificate)?;
    if certificate.category < expected.least {
        let hint = if certificate.method == EraseMethod::Metadata {
            "only partition tables and signatures were erased, data stays readable"
        } else {
            "the erase is weaker than asked for"
        };
        return Err(format!(
            "{hint}: its category is {}, {} is asked for (--least)",
            plain::category(certificate.category),
            plain::category(expected.least)
        ));
    }
    Ok(())
}

//! `verify-certificate`: is this file a proof that a disk was erased, and for whom?

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

/// What the file says beside what is signed: a program that reads the file, and not what was verified, would believe it.
fn unsigned(text: &str, signed: &SignedCertificate) -> Option<String> {
    let raw = serde_json::from_str::<serde_json::Value>(text).ok()?;
    let canonical = serde_json::to_value(&signed.certificate).ok()?;
    (raw.get("certificate") != Some(&canonical))
        .then(|| "it contains something that is not signed, or spells it in another way".to_owned())
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

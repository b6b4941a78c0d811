//! Methods and categories in words, for plans, errors and people.

use std::time::Duration;

use ironwright_api::{Category, EraseMethod};

use super::ladder::Rung;

/// A method in words.
#[must_use]
pub(in crate::erase) fn method(method: EraseMethod) -> &'static str {
    use EraseMethod as M;
    match method {
        M::NvmeSanitizeCrypto => "NVMe sanitize, crypto erase",
        M::NvmeSanitizeBlock => "NVMe sanitize, block erase",
        M::NvmeSanitizeOverwrite => "NVMe sanitize, overwrite",
        M::NvmeFormatCrypto => "NVMe format with cryptographic erase",
        M::NvmeFormatUserData => "NVMe format with user-data erase",
        M::AtaSanitizeCrypto => "ATA sanitize, crypto scramble",
        M::AtaSanitizeBlock => "ATA sanitize, block erase",
        M::AtaSanitizeOverwrite => "ATA sanitize, overwrite",
        M::AtaSecurityEraseEnhanced => "ATA enhanced security erase",
        M::AtaSecurityErase => "ATA security erase",
        M::ScsiSanitizeCrypto => "SCSI sanitize, cryptographic erase",
        M::ScsiSanitizeBlock => "SCSI sanitize, block erase",
        M::ScsiSanitizeOverwrite => "SCSI sanitize, overwrite",
        M::Discard => "discard",
        M::Overwrite => "overwrite with zeros",
        M::Metadata => "partition tables and signatures",
    }
}

/// A method by its name on the wire.
#[must_use]
pub(in crate::erase) fn wire_name(method: EraseMethod) -> String {
    // An enum without fields is a string; should that ever change, the words still say it.
    let value = serde_json::to_value(method).unwrap_or_default();
    value.as_str().unwrap_or(self::method(method)).to_owned()
}

/// A category in words.
#[must_use]
pub(in crate::erase) fn category(category: Category) -> &'static str {
    match category {
        Category::None => "none",
        Category::Clear => "clear",
        Category::Purge => "purge",
    }
}

/// How an erase by `method` is verified.
#[must_use]
pub(in crate::erase) fn verification(method: EraseMethod) -> &'static str {
    use EraseMethod::{Discard, Metadata, Overwrite};
    if matches!(method, Overwrite | Discard | Metadata) {
        "verified in full"
    } else if method.is_crypto() {
        "verified by samples that must differ"
    } else {
        "verified by samples"
    }
}

/// `NVMe sanitize, crypto erase (purge), verified by samples that must differ, about 2 min`.
#[must_use]
pub(in crate::erase) fn rung(rung: &Rung) -> String {
    let method = rung.method;
    let time = rung.estimate.map(|time| format!(", about {}", duration(time))).unwrap_or_default();
    format!(
        "{} ({}), {}{time}",
        self::method(method),
        category(rung.category),
        verification(method)
    )
}

fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..7200 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erase::ladder::Reads;

    #[test]
    fn a_rung_is_one_readable_clause() {
        let rung = Rung {
            method: EraseMethod::NvmeSanitizeCrypto,
            category: Category::Purge,
            reads: Reads::Changed,
            estimate: Some(Duration::from_secs(90)),
        };
        assert_eq!(
            self::rung(&rung),
            "NVMe sanitize, crypto erase (purge), verified by samples that must differ, about 2 min"
        );
        assert_eq!(wire_name(EraseMethod::NvmeFormatUserData), "nvme_format_user_data");
        assert_eq!(duration(Duration::from_secs(10_000)), "3 h");
    }
}

//! A certificate in plain words.

use ironwright_api::{Category, DiskIdentity, EraseMethod, EraseResult, SignedCertificate};

/// One thing a line. What comes from the file is shown without control characters.
pub(super) fn words(signed: &SignedCertificate) -> String {
    let certificate = &signed.certificate;
    let verification = &certificate.verification;
    let result = match &certificate.result {
        EraseResult::Erased => "erased".to_owned(),
        EraseResult::Failed { reason } => format!("failed: {reason}"),
    };
    let mut lines = vec![
        ("disk", disk(&certificate.disk)),
        ("method", method(certificate.method).to_owned()),
        ("category", worth(certificate.category).to_owned()),
        ("result", result),
        (
            "verified",
            format!(
                "{}: {} bytes read back, {} samples",
                verification.mode,
                verification.bytes_read,
                verification.samples.len()
            ),
        ),
        ("time", format!("{} to {}", certificate.started, certificate.ended)),
        (
            "origin",
            format!(
                "node {}, order {}, boot {}, step {}, agent {}",
                certificate.node_uuid,
                certificate.order_id,
                certificate.boot_id,
                certificate.step,
                certificate.agent_version
            ),
        ),
        ("agent key", signed.agent.public_key.clone()),
    ];
    for passed in &certificate.passed_over {
        lines.push(("passed over", format!("{}: {}", method(passed.method), passed.reason)));
    }
    if let Some(seal) = &signed.coordinator {
        lines.push(("coordinator", seal.public_key.clone()));
    }
    lines.push(("not signed", "id and received_at, where the file has them".to_owned()));
    let clean = |text: &str| -> String {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect()
    };
    lines.iter().map(|(name, value)| format!("{name:<12} {}\n", clean(value))).collect()
}

fn disk(disk: &DiskIdentity) -> String {
    let mut text = disk.path.clone();
    for (name, value) in [
        ("serial", &disk.serial),
        ("WWN", &disk.wwn),
        ("vendor", &disk.vendor),
        ("model", &disk.model),
    ] {
        if !value.is_empty() {
            text.push_str(&format!(", {name} {value}"));
        }
    }
    format!("{text}, {} bytes", disk.bytes)
}

/// A category by its name.
pub(super) fn category(category: Category) -> &'static str {
    match category {
        Category::None => "none",
        Category::Clear => "clear",
        Category::Purge => "purge",
    }
}

/// NIST SP 800-88 Rev. 1, 2.5.
fn worth(category: Category) -> &'static str {
    match category {
        Category::None => "none: data stays readable to who looks for it",
        Category::Clear => "clear: protects against recovery through the disk's normal interface",
        Category::Purge => "purge: protects against recovery in a laboratory",
    }
}

fn method(method: EraseMethod) -> &'static str {
    match method {
        EraseMethod::NvmeSanitizeCrypto => "NVMe sanitize, keys destroyed",
        EraseMethod::NvmeSanitizeBlock => "NVMe sanitize, blocks erased",
        EraseMethod::NvmeSanitizeOverwrite => "NVMe sanitize, overwritten by the controller",
        EraseMethod::NvmeFormatCrypto => "NVMe format, keys destroyed",
        EraseMethod::NvmeFormatUserData => "NVMe format, user data erased",
        EraseMethod::AtaSanitizeCrypto => "ATA sanitize, keys destroyed",
        EraseMethod::AtaSanitizeBlock => "ATA sanitize, blocks erased",
        EraseMethod::AtaSanitizeOverwrite => "ATA sanitize, overwritten by the disk",
        EraseMethod::AtaSecurityEraseEnhanced => "ATA security erase, enhanced",
        EraseMethod::AtaSecurityErase => "ATA security erase",
        EraseMethod::ScsiSanitizeCrypto => "SCSI sanitize, keys destroyed",
        EraseMethod::ScsiSanitizeBlock => "SCSI sanitize, blocks erased",
        EraseMethod::ScsiSanitizeOverwrite => "SCSI sanitize, overwritten by the disk",
        EraseMethod::Discard => "every block discarded, reads as zero",
        EraseMethod::Overwrite => "zeros written to every addressable byte",
        EraseMethod::Metadata => "partition tables and signatures only",
    }
}

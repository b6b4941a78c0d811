//! Error chains, progress with a rate, the tail of the log: what the agent says about itself.

mod kernel;
mod meter;
mod tail;

pub use kernel::kernel_log;
pub use meter::Meter;
pub use tail::LogTail;

/// The whole chain of `error`, outermost first, joined with `: `. The only printer of chains: no `Display` of ours
/// repeats its source.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Foreign crates (hyper, rustls) like to repeat their source; saying it twice helps nobody.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Peak resident memory of this process in bytes (`VmHWM`), 0 when `/proc` does not say.
#[must_use]
pub fn peak_memory_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status").map_or(0, |status| parse_peak(&status))
}

fn parse_peak(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;
    use crate::sys::disk::{DiskError, DiskOp};

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write the image")]
    struct Outer(#[from] DiskError);

    #[test]
    fn a_chain_names_every_cause_once_and_outermost_first() {
        let error = Outer(DiskError {
            device: PathBuf::from("/dev/sdz"),
            op: DiskOp::Write,
            offset: 1 << 20,
            bytes: 2 << 20,
            source: io::Error::from_raw_os_error(5),
        });
        assert_eq!(
            chain(&error),
            "cannot write the image: write of 2097152 bytes at offset 1048576 on /dev/sdz: \
             Input/output error (os error 5)"
        );
    }

    #[test]
    fn peak_memory_is_read_in_bytes_and_a_missing_line_is_zero() {
        assert_eq!(parse_peak("Name:\tx\nVmHWM:\t    1024 kB\nVmRSS:\t 1 kB\n"), 1 << 20);
        assert_eq!(parse_peak("Name:\tx\n"), 0);
        assert!(peak_memory_bytes() > 0);
    }
}

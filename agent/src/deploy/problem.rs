//! What makes a deploy impossible before it begins.

use std::path::PathBuf;

use ironwright_api::{Blame, Failure};

/// One reason why a deploy cannot begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No disk, or several, match the hints.
    #[error("no root disk: {why}")]
    RootDisk {
        /// Why, with the disks that were looked at.
        why: String,
    },
    /// The config drive cannot be made.
    #[error("the config drive cannot be made: {why}")]
    ConfigDrive {
        /// Why.
        why: String,
    },
    /// The config drive could not be fetched.
    #[error("the config drive cannot be fetched from {url}: {why}")]
    ConfigDriveFetch {
        /// Where it should come from, without its query (which may hold a secret).
        url: String,
        /// Why.
        why: String,
    },
    /// The order names no image.
    #[error("the order names no image URL")]
    NoImageUrl,
    /// An image's URL cannot be used.
    #[error("the image URL {url:?} is not an http(s) URL ({why})")]
    ImageUrl {
        /// As ordered, without credentials.
        url: String,
        /// Why.
        why: String,
    },
    /// The checksum is neither a digest nor a URL of one.
    #[error(
        "the image's checksum has {found} characters; a {algorithm} has {digits} hexadecimal digits, or is an http(s) URL of a checksum file"
    )]
    Checksum {
        /// As ordered.
        algorithm: &'static str,
        /// Digits of that algorithm.
        digits: usize,
        /// Characters given.
        found: usize,
    },
    /// The config drive alone fills the disk.
    #[error("the config drive has {drive_bytes} bytes, the root disk {disk_bytes}")]
    NoRoom {
        /// Bytes of its file system.
        drive_bytes: u64,
        /// Capacity.
        disk_bytes: u64,
    },
    /// The arrays were built for another machine or firmware.
    #[error("the machine would not start from its arrays: {why}")]
    Members {
        /// Why.
        why: String,
    },
    /// A partition image on a machine that starts by BIOS.
    #[error(
        "a partition image needs UEFI: a BIOS would need a boot loader that only programs inside the image could install"
    )]
    PartitionBios,
    /// The partitions around a partition image do not fit.
    #[error("the partitions for the image cannot be made: {why}")]
    Partitions {
        /// Why, with the numbers.
        why: String,
    },
    /// The hints choose another disk than the one that holds the image.
    #[error("the image is on the disk with serial number {written:?}, the hints now choose {} with {chosen:?}", path.display())]
    Moved {
        /// Serial number from the proof of the earlier attempt.
        written: String,
        /// Serial number now.
        chosen: String,
        /// Device node now.
        path: PathBuf,
    },
}

impl Problem {
    fn blame(&self) -> Blame {
        match self {
            Self::ConfigDriveFetch { .. } => Blame::Environment,
            Self::RootDisk { .. } | Self::Moved { .. } | Self::Members { .. } => Blame::Hardware,
            Self::ConfigDrive { .. }
            | Self::NoImageUrl
            | Self::ImageUrl { .. }
            | Self::Checksum { .. }
            | Self::NoRoom { .. }
            | Self::PartitionBios
            | Self::Partitions { .. } => Blame::Order,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::RootDisk { .. } => "compare the root device hints with the node's inventory",
            Self::ConfigDrive { .. } => "correct the config drive",
            Self::ConfigDriveFetch { .. } => {
                "make the config drive's URL reachable for the machine"
            }
            Self::NoImageUrl | Self::ImageUrl { .. } => "give an http(s) image_source",
            Self::Checksum { .. } => "give the image's sha256 or sha512",
            Self::NoRoom { .. } => "choose a larger disk",
            Self::Members { .. } => {
                "build the arrays again with raid.create_configuration, while the machine boots as it will with its system"
            }
            Self::PartitionBios => "deploy a whole-disk image, or let the machine boot by UEFI",
            Self::Partitions { .. } => "choose a smaller root_gb or swap_mb, or a larger disk",
            Self::Moved { .. } => {
                "check which disk is which, then deploy anew with a hint by serial number"
            }
        }
    }
}

/// Why a deploy was refused: everything that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct PlanError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl std::fmt::Display for PlanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nothing was changed: ")?;
        for (index, problem) in self.problems.iter().enumerate() {
            let gap = if index == 0 { "" } else { "; " };
            write!(f, "{gap}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanError {}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let mut remedies: Vec<&str> = error.problems.iter().map(Problem::remedy).collect();
        remedies.dedup();
        // An order that must be changed is not helped by trying again, whatever else is wrong.
        let blames: Vec<Blame> = error.problems.iter().map(Problem::blame).collect();
        let worst = [Blame::Order, Blame::Hardware].into_iter().find(|b| blames.contains(b));
        Self {
            step: String::new(),
            message: error.to_string(),
            remedy: remedies.join("; "),
            blame: worst.unwrap_or(Blame::Environment),
        }
    }
}

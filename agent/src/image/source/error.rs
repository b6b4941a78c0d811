//! Why the bytes of an image cannot be had.

use ironwright_api::Blame;

/// Why the bytes of an image cannot be had. URLs carry no credentials.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Not an address this agent can use.
    #[error("{url} is no http or https URL")]
    BadUrl {
        /// As given, without credentials.
        url: String,
    },
    /// No answer.
    #[error("no answer from {url}")]
    Unreachable {
        /// Where.
        url: String,
        /// What the connection said.
        source: reqwest::Error,
    },
    /// The server refused.
    #[error("{url} answers {status}")]
    Status {
        /// Where.
        url: String,
        /// HTTP status, code and name.
        status: reqwest::StatusCode,
    },
    /// An answer that contradicts HTTP or the request.
    #[error("{url} sent an unusable answer: {reason}")]
    Unusable {
        /// Where.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Ranges stopped working.
    #[error("{url} does not serve ranges")]
    NoRange {
        /// Where.
        url: String,
    },
    /// No bytes at all.
    #[error("{url} sent no bytes")]
    Empty {
        /// Where.
        url: String,
    },
    /// The connection broke.
    #[error("the connection to {url} broke after {bytes} bytes")]
    Cut {
        /// Where.
        url: String,
        /// Position in the file.
        bytes: u64,
        /// What the connection said.
        source: reqwest::Error,
    },
    /// The server fell silent.
    #[error("{url} sent nothing for {seconds} s after {bytes} bytes")]
    Stalled {
        /// Where.
        url: String,
        /// Position in the file.
        bytes: u64,
        /// How long.
        seconds: f32,
    },
    /// The server sends, but next to nothing.
    #[error("{url} sent less than {least} bytes in {seconds} s of waiting, after {bytes} bytes")]
    Slow {
        /// Where.
        url: String,
        /// Position in the file.
        bytes: u64,
        /// Bytes that were to come.
        least: u64,
        /// How long.
        seconds: f32,
    },
    /// Fewer bytes than announced.
    #[error("{url} ended after {bytes} of {total} bytes")]
    Short {
        /// Where.
        url: String,
        /// Bytes received.
        bytes: u64,
        /// Bytes announced.
        total: u64,
    },
    /// More bytes than announced.
    #[error("{url} sent {bytes} bytes, more than the {total} it may")]
    Long {
        /// Where.
        url: String,
        /// Bytes received.
        bytes: u64,
        /// Bytes announced.
        total: u64,
    },
    /// Another file than before.
    #[error("{url} changed while it was read: {what} was {was}, is {is}")]
    Changed {
        /// Where.
        url: String,
        /// `length`, `ETag` or `Last-Modified`.
        what: &'static str,
        /// At first.
        was: String,
        /// Now.
        is: String,
    },
    /// A mirror of another file.
    #[error("{url} serves a file of {is} bytes, the URL before it one of {was}")]
    OtherLength {
        /// Where.
        url: String,
        /// Bytes at the URL that was read before.
        was: u64,
        /// Bytes here.
        is: u64,
    },
    /// Several URLs, none good.
    #[error("every URL failed: {failures}")]
    NoUrlLeft {
        /// One after the other.
        failures: String,
    },
}

impl SourceError {
    /// A broken connection; the error's own URL is dropped, it may carry credentials.
    pub(super) fn cut(url: String, bytes: u64, error: reqwest::Error) -> Self {
        Self::Cut { url, bytes, source: error.without_url() }
    }

    /// Whether the same URL may do better next time.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Cut { .. }
            | Self::Stalled { .. }
            | Self::Slow { .. }
            | Self::Short { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
            }
            Self::BadUrl { .. }
            | Self::Unusable { .. }
            | Self::NoRange { .. }
            | Self::Empty { .. }
            | Self::Long { .. }
            | Self::Changed { .. }
            | Self::OtherLength { .. }
            | Self::NoUrlLeft { .. } => false,
        }
    }

    pub(in crate::image) fn blame(&self) -> Blame {
        match self {
            Self::Status { status, .. } if status.is_client_error() => Blame::Order,
            Self::BadUrl { .. } | Self::Empty { .. } => Blame::Order,
            Self::Status { .. }
            | Self::Unreachable { .. }
            | Self::Unusable { .. }
            | Self::NoRange { .. }
            | Self::Cut { .. }
            | Self::Stalled { .. }
            | Self::Slow { .. }
            | Self::Short { .. }
            | Self::Long { .. }
            | Self::Changed { .. }
            | Self::OtherLength { .. }
            | Self::NoUrlLeft { .. } => Blame::Environment,
        }
    }

    pub(in crate::image) fn remedy(&self) -> String {
        match self {
            Self::Status { status, .. } if status.is_client_error() => {
                "check the URL in the order and who may read it".into()
            }
            Self::BadUrl { .. } => "correct the URL in the order".into(),
            Self::Empty { .. } => "check the file behind the URL: it is empty".into(),
            Self::Unreachable { .. } => {
                "check that the provisioning network reaches the image server (and its proxy, if it has one), and its name and certificate".into()
            }
            Self::OtherLength { .. } => "name only mirrors of the same file".into(),
            Self::Changed { .. } => {
                "publish images under names that never change, and order the new one".into()
            }
            Self::Status { .. }
            | Self::Unusable { .. }
            | Self::NoRange { .. }
            | Self::Cut { .. }
            | Self::Stalled { .. }
            | Self::Slow { .. }
            | Self::Short { .. }
            | Self::Long { .. }
            | Self::NoUrlLeft { .. } => "check the image server and the network, then try again".into(),
        }
    }
}

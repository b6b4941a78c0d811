//! Why a request failed, in Ironic's two shapes of error body.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use super::version;
use crate::actions::ActionError;
use crate::agent::AgentError;
use crate::app::chain;
use crate::power::BmcError;
use crate::store::StoreError;

/// Why a request failed. The text of each variant is what the client reads.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No node has this identifier or name.
    #[error("Node {0} could not be found.")]
    NodeNotFound(String),
    /// No such record of another kind.
    #[error("{what} {ident} could not be found.")]
    NotFound {
        /// `Port`, `Driver`, `Conductor`, …
        what: &'static str,
        /// As asked for.
        ident: String,
    },
    /// No such path (or it is newer than the version asked for).
    #[error("The resource could not be found.")]
    NoSuchPath,
    /// The path exists, not with this method.
    #[error("The method {0} is not allowed for this resource.")]
    NoSuchMethod(String),
    /// The version asked for is not served.
    #[error(
        "Version {asked} was requested but is not supported by this service. The supported version range is: [{min}, {max}].",
        min = version::MIN,
        max = version::MAX
    )]
    UnsupportedVersion {
        /// As asked for.
        asked: String,
    },
    /// A field or parameter is newer than the version asked for.
    #[error("Request not acceptable. {0}")]
    TooNew(String),
    /// What was sent is wrong; the text names every problem.
    #[error("{0}")]
    Invalid(String),
    /// The body is larger than this many bytes.
    #[error("The body is larger than {0} bytes.")]
    BodyTooLarge(usize),
    /// The body did not arrive within this many seconds.
    #[error("The body did not arrive within {0} s.")]
    TooSlow(u64),
    /// The caller may not do this to this node.
    #[error("{0}")]
    Forbidden(String),
    /// The node's state does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// Other writers kept changing the node.
    #[error(
        "Node {0} is locked by another request, please retry after the current operation is completed."
    )]
    NodeLocked(Uuid),
    /// The node's BMC does not do what was asked.
    #[error("{0}")]
    Hardware(String),
    /// Something of ours failed. The cause goes to the log, never to the client.
    #[error(
        "Internal server error. The request id in the headers names the entry in the coordinator's log."
    )]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ApiError {
    /// A failure of ours.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// 400 naming all `problems`, one a line when there are several.
    #[must_use]
    pub fn problems(problems: &[String]) -> Self {
        Self::Invalid(problems.join("\n"))
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NodeNotFound(_) | Self::NotFound { .. } | Self::NoSuchPath => {
                StatusCode::NOT_FOUND
            }
            Self::NoSuchMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedVersion { .. } | Self::TooNew(_) => StatusCode::NOT_ACCEPTABLE,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Conflict(_) | Self::NodeLocked(_) => StatusCode::CONFLICT,
            Self::Hardware(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Ironic answers what its web framework refuses in one shape and what the application refuses in another.
    fn is_framework(&self) -> bool {
        matches!(self, Self::NoSuchPath | Self::NoSuchMethod(_) | Self::UnsupportedVersion { .. })
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(node) => Self::NodeLocked(node),
            StoreError::Duplicate { what, value } => {
                let what = match what {
                    "node name" => "node with name",
                    "node uuid" => "node with UUID",
                    "instance uuid" => "node with instance UUID",
                    "port address" => "port with MAC address",
                    "port uuid" => "port with UUID",
                    other => other,
                };
                Self::Conflict(format!("A {what} {value} already exists."))
            }
            StoreError::Database { .. } => Self::internal(error),
        }
    }
}

impl From<ActionError> for ApiError {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::NotFound(ident) => Self::NodeNotFound(ident),
            ActionError::Refused(text) | ActionError::Invalid(text) => Self::Invalid(text),
            ActionError::Protected(_) => Self::Forbidden(error.to_string()),
            ActionError::Busy { .. } => Self::Conflict(error.to_string()),
            ActionError::Bmc(BmcError::Setting { .. }) => Self::Invalid(error.to_string()),
            // What a BMC answers is what its operator has to know; it carries no password.
            ActionError::Bmc(_) => Self::Hardware(error.to_string()),
            ActionError::Store(error) => error.into(),
        }
    }
}

impl From<AgentError> for ApiError {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::NotFound(ident) => Self::NodeNotFound(ident),
            AgentError::Invalid(text) => Self::Invalid(text),
            AgentError::Token => Self::Invalid(error.to_string()),
            AgentError::Forbidden(text) => Self::Forbidden(text),
            AgentError::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        if let Self::Internal(cause) = &self {
            tracing::error!(cause = chain(cause.as_ref()), "request failed");
        }
        let text = self.to_string();
        let inner = if self.is_framework() {
            let title = status.canonical_reason().unwrap_or_default();
            json!({"code": status.as_u16(), "title": title, "description": text})
        } else {
            let code = if status.is_server_error() { "Server" } else { "Client" };
            json!({"faultcode": code, "faultstring": text, "debuginfo": null})
        };
        json_response(status, &json!({"error_message": inner.to_string()}))
    }
}

/// A JSON answer.
pub(super) fn json_response(status: StatusCode, body: &Value) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, content_type)], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn shape(error: ApiError) -> (u16, Value) {
        let response = error.into_response();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        let outer: Value = serde_json::from_slice(&body).unwrap();
        (status, serde_json::from_str(outer["error_message"].as_str().unwrap()).unwrap())
    }

    #[tokio::test]
    async fn an_application_error_is_a_fault_and_a_framework_error_has_a_title() {
        let (status, inner) = shape(ApiError::NodeNotFound("n0".into())).await;
        assert_eq!(status, 404);
        assert_eq!(inner["faultstring"], "Node n0 could not be found.");
        assert_eq!(inner["faultcode"], "Client");
        assert_eq!(inner["debuginfo"], Value::Null);

        let (status, inner) = shape(ApiError::UnsupportedVersion { asked: "1.115".into() }).await;
        assert_eq!(
            (status, &inner["code"], &inner["title"]),
            (406, &json!(406), &json!("Not Acceptable"))
        );
    }

    #[tokio::test]
    async fn a_failure_of_ours_never_tells_its_cause() {
        let cause = std::io::Error::other("disk /var/lib/secret is full");
        let (status, inner) = shape(ApiError::internal(cause)).await;
        assert_eq!((status, &inner["faultcode"]), (500, &json!("Server")));
        assert!(!inner.to_string().contains("secret"), "{inner}");
    }
}

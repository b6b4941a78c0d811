//! One entry of the table of routes. The router and `openapi.json` are both made from the table, so neither can be stale.

use axum::extract::FromRequestParts;
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Router, middleware};

use super::error::ApiError;
use super::layers;
use super::records::{Ask, Resource};
use super::request::{Base, Query};
use super::version::Version;
use crate::app::App;

/// What a request's body is.
#[derive(Debug, Clone, Copy)]
pub enum Input {
    /// There is none.
    Nothing,
    /// An object.
    Object,
    /// An object that may be left out.
    Optional,
    /// A JSON patch (RFC 6902) of add, replace and remove.
    Patch,
    /// A new record.
    Record(&'static Resource),
    /// A new node.
    Node,
    /// A new port.
    Port,
    /// An object with these members and no others, each with its JSON type.
    Members(&'static [(&'static str, &'static str)]),
}

/// What the body of a successful answer is.
#[derive(Debug, Clone, Copy)]
pub enum Output {
    /// Some object, or nothing where the status says so.
    Object,
    /// A node.
    Node,
    /// A list of nodes.
    Nodes,
    /// A port.
    Port,
    /// A list of ports.
    Ports,
}

/// One method of one path.
#[derive(Debug)]
pub struct Route {
    /// `GET`, `POST`, `PUT`, `PATCH`, `DELETE`.
    pub method: &'static str,
    /// With `{parameters}`.
    pub path: String,
    /// The first `1.N` that has it.
    pub since: u16,
    /// One line for people.
    pub summary: &'static str,
    /// The status of success.
    pub success: u16,
    /// The body.
    pub input: Input,
    /// The body of the answer.
    pub output: Output,
    /// The query's parameters and the first `1.N` that takes each; none: not said.
    pub query: Vec<(&'static str, u16)>,
    service: MethodRouter<App>,
}

impl Route {
    fn new<H, T>(
        method: (&'static str, MethodFilter),
        path: impl Into<String>,
        since: u16,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let (name, filter) = method;
        let (success, input) = match name {
            "POST" => (201, Input::Object),
            "PUT" => (202, Input::Object),
            "PATCH" => (200, Input::Patch),
            "DELETE" => (204, Input::Nothing),
            _ => (200, Input::Nothing),
        };
        let service = on(filter, handler);
        let query = Vec::new();
        let (path, output) = (path.into(), Output::Object);
        Self { method: name, path, since, summary, success, input, output, query, service }
    }

    /// With another status of success.
    #[must_use]
    pub fn answers(self, success: u16) -> Self {
        Self { success, ..self }
    }

    /// With another kind of body.
    #[must_use]
    pub fn takes(self, input: Input) -> Self {
        Self { input, ..self }
    }

    /// With another kind of answer.
    #[must_use]
    pub fn gives(self, output: Output) -> Self {
        Self { output, ..self }
    }

    /// With these parameters of the query.
    #[must_use]
    pub fn asks(self, query: &[(&'static str, u16)]) -> Self {
        Self { query: query.to_vec(), ..self }
    }
}

impl Route {
    /// With further parameters of the query.
    #[must_use]
    pub fn and_asks(mut self, query: &[(&'static str, u16)]) -> Self {
        self.query.extend_from_slice(query);
        self
    }
}

macro_rules! method {
    ($name:ident, $text:literal, $filter:ident) => {
        /// A route of this method.
        pub fn $name<H, T>(
            path: impl Into<String>,
            since: u16,
            summary: &'static str,
            handler: H,
        ) -> Route
        where
            H: Handler<T, App>,
            T: 'static,
        {
            Route::new(($text, MethodFilter::$filter), path, since, summary, handler)
        }
    };
}

method!(get, "GET", GET);
method!(post, "POST", POST);
method!(put, "PUT", PUT);
method!(patch, "PATCH", PATCH);
method!(delete, "DELETE", DELETE);

/// A router over the table. Routes do not exist for versions before theirs: 404.
pub fn router(table: Vec<Route>) -> Router<App> {
    table.into_iter().fold(Router::new(), |router, route| {
        let since = route.since;
        let service = if since > 1 {
            route.service.route_layer(middleware::from_fn(move |version, request, next| {
                layers::since(since, version, request, next)
            }))
        } else {
            route.service
        };
        router.route(&route.path, service)
    })
}

impl FromRequestParts<App> for Ask {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let version = Version::from_request_parts(parts, app).await?;
        let Base(base) = Base::from_request_parts(parts, app).await?;
        let query = Query::from_request_parts(parts, app).await?;
        Ok(Self { app: app.clone(), version, base, query })
    }
}

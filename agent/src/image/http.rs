//! The HTTP client of one image: credentials go to the image's own servers and nowhere else.

use ironwright_api::Image;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder};

/// A client, and what it may tell to whom.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    authorization: Option<HeaderValue>,
    /// Origins (scheme, host, port) that get it.
    trusted: Vec<url::Origin>,
}

/// The `Authorization` header of an order cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the image's Authorization header contains characters that HTTP does not allow")]
pub struct BadAuthorization;

impl From<Client> for Http {
    fn from(client: Client) -> Self {
        Self { client, authorization: None, trusted: Vec::new() }
    }
}

impl Http {
    /// `client` with the credentials of `image`, for the servers of its URLs.
    ///
    /// # Errors
    /// [`BadAuthorization`].
    pub fn of(client: Client, image: &Image) -> Result<Self, BadAuthorization> {
        let value = image.access.as_ref().and_then(|access| access.authorization.as_deref());
        let Some(value) = value else { return Ok(client.into()) };
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| BadAuthorization)?;
        value.set_sensitive(true);
        let origin = |url: &String| Some(url::Url::parse(url).ok()?.origin());
        let trusted = image.urls.iter().filter_map(origin).collect();
        Ok(Self { client, authorization: Some(value), trusted })
    }

    /// A GET. After a redirect to another host the client itself drops the header.
    pub(super) fn get(&self, url: &str) -> RequestBuilder {
        let parsed = url::Url::parse(url).ok().filter(|url| self.trusted.contains(&url.origin()));
        match (&self.authorization, parsed) {
            (Some(value), Some(mut url)) => {
                // One header: the one that was given for it, not also the one that the client makes of the URL's user.
                url.set_username("").ok();
                url.set_password(None).ok();
                self.client.get(url).header(AUTHORIZATION, value.clone())
            }
            _ => self.client.get(url),
        }
    }
}

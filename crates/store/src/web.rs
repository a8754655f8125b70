//! References from the web, where the operator allows them: bounded in bytes, time, redirects and addresses.

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, LOCATION};
use reqwest::{Response, Url};
use uso_picture::PictureKind;

use crate::address_guard;
use crate::config::WebReferences;
use crate::error::{Error, WebError};
use crate::store::Store;

/// Most redirects of one reference.
const REDIRECTS: usize = 5;

impl Store {
    /// The bytes of a reference image at an address that a job names.
    ///
    /// # Errors
    /// [`Error::Web`] with the reason.
    pub async fn fetch_web(&self, url: &str) -> Result<Bytes, Error> {
        let limit = self.0.config.timeout;
        match tokio::time::timeout(limit, self.follow(url)).await {
            Ok(fetched) => fetched.map_err(Error::Web),
            Err(_) => {
                let reason = format!("no answer within {limit:?}");
                Err(WebError::Unreachable { url: shown(url), reason }.into())
            }
        }
    }

    /// Follows redirects, each of which is checked like the address itself.
    async fn follow(&self, text: &str) -> Result<Bytes, WebError> {
        let mut url = self.allowed(text)?;
        for _ in 0..=REDIRECTS {
            let ask = self.0.web.get(url.clone()).header(ACCEPT, "image/png, image/jpeg, image/webp");
            let answer = ask.send().await.map_err(|error| unreachable(&url, &error))?;
            if !answer.status().is_redirection() {
                return self.take(&url, answer).await;
            }
            let next = answer.headers().get(LOCATION).and_then(|next| next.to_str().ok());
            let next = next.and_then(|next| url.join(next).ok()).ok_or_else(|| status(&url, &answer))?;
            url = self.allowed(next.as_str())?;
        }
        Err(WebError::TooManyRedirects { url: shown(text), limit: REDIRECTS })
    }

    fn allowed(&self, text: &str) -> Result<Url, WebError> {
        let web = self.0.config.web;
        let checked =
            web.check(text).and_then(|()| address_guard::check_url(text, web == WebReferences::Any));
        checked.map_err(|reason| WebError::NotAllowed { url: shown(text), reason })
    }

    async fn take(&self, url: &Url, mut answer: Response) -> Result<Bytes, WebError> {
        if !answer.status().is_success() {
            return Err(status(url, &answer));
        }
        let limit = self.0.config.max_bytes;
        let too_large = || WebError::TooLarge { url: shown(url.as_str()), limit };
        if answer.content_length().is_some_and(|size| size > limit) {
            return Err(too_large());
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(url, &error))? {
            // The announced size may be wrong.
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        if PictureKind::of_bytes(&bytes).is_none() {
            return Err(WebError::NotAnImage { url: shown(url.as_str()) });
        }
        Ok(bytes.freeze())
    }
}

fn status(url: &Url, answer: &Response) -> WebError {
    WebError::Status { url: shown(url.as_str()), status: answer.status().as_u16() }
}

fn unreachable(url: &Url, error: &reqwest::Error) -> WebError {
    let (url, reason) = (shown(url.as_str()), address_guard::describe(error));
    WebError::Unreachable { url, reason }
}

/// Without what may be a secret.
fn shown(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}

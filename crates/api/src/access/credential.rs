//! The key or session that a request carries.

use axum::http::{HeaderMap, header};
use uso_queue::{ApiKey, SessionToken};

use super::keys::Keys;
use super::refusal::Refusal;
use crate::caller::Caller;

/// The cookie with a session's token.
pub(crate) const SESSION_COOKIE: &str = "uso_session";

/// The key or session of a request.
pub(super) enum Credential {
    None,
    /// An Authorization header without a readable key.
    Unreadable,
    Key(ApiKey),
    Session(SessionToken),
}

impl Credential {
    /// The caller, if the key or session is valid now.
    pub(super) async fn caller(&self, keys: &Keys) -> Result<Caller, Refusal> {
        match self {
            Self::None => Err(Refusal::no_key()),
            Self::Unreadable => Err(Refusal::invalid_key()),
            Self::Key(key) => {
                let view = keys.key(key).await?;
                Ok(Caller::of(&view.ok_or_else(Refusal::invalid_key)?, None))
            }
            Self::Session(token) => {
                let view = keys.session(token).await?;
                Ok(Caller::of(&view.ok_or_else(Refusal::session_over)?, Some(token.clone())))
            }
        }
    }

    pub(super) fn of(headers: &HeaderMap) -> Self {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let words = value.to_str().ok().and_then(|text| text.trim().split_once(' '));
            let key = words.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let key = key.and_then(|(_, key)| key.trim().parse().ok());
            return key.map_or(Self::Unreadable, Self::Key);
        }
        cookie(headers, SESSION_COOKIE).map_or(Self::None, |token| Self::Session(token.into()))
    }
}

/// The value of a cookie.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_and_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("not_uso_session=x; a=b"));
        headers.append(header::COOKIE, HeaderValue::from_static("c=d;uso_session=token; e=f"));
        assert_eq!(cookie(&headers, SESSION_COOKIE), Some("token"));
        assert_eq!(cookie(&headers, "uso"), None);
    }
}

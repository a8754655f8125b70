//! Who sent a request.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use uso_queue::{KeyScope, KeyView, SessionToken};

use crate::problem::Problem;

/// Who sent a request, and what they may do. A route can get its tenant from nowhere else.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Whose jobs it may submit and see.
    pub(crate) tenant: String,
    /// What it may do.
    pub(crate) scopes: Vec<KeyScope>,
    /// The session of the request, if it has one.
    pub(crate) session: Option<SessionToken>,
    /// The prefix of the key; none where no key is needed.
    pub(crate) key: Option<String>,
    /// When the signed link of the request expires, in seconds since 1970, if it has one.
    pub(crate) until_s: Option<u64>,
}

impl Caller {
    /// The caller with a key.
    pub(crate) fn of(view: &KeyView, session: Option<SessionToken>) -> Self {
        let (tenant, scopes, key) = (view.tenant.clone(), view.scopes.clone(), Some(view.prefix.clone()));
        Self { tenant, scopes, session, key, until_s: None }
    }

    /// The caller where no key is needed.
    pub(crate) fn anybody(tenant: &str) -> Self {
        let (tenant, scopes) = (tenant.to_owned(), KeyScope::ALL.to_vec());
        Self { tenant, scopes, session: None, key: None, until_s: None }
    }

    pub(crate) fn may(&self, scope: KeyScope) -> bool {
        self.scopes.contains(&scope)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    /// As `access::admit` has found it.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(|| Problem::internal(&"a route without a caller asks for one"))
    }
}

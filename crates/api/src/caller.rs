//! Who asks.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use uso_queue::{KeyScope, KeyView, SessionToken};

use crate::Problem;

/// Whose request it is and what they may do. A route can get no tenant from anywhere else.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Whose jobs it may submit and see.
    pub(crate) tenant: String,
    /// What it may do.
    pub(crate) scopes: Vec<KeyScope>,
    /// The session that the request came with, if that is what let it in.
    pub(crate) session: Option<SessionToken>,
}

impl Caller {
    /// Whoever showed a key.
    pub(crate) fn of(view: &KeyView, session: Option<SessionToken>) -> Self {
        Self { tenant: view.tenant.clone(), scopes: view.scopes.clone(), session }
    }

    /// Somebody where nobody is asked for a key.
    pub(crate) fn anybody(tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), scopes: KeyScope::ALL.to_vec(), session: None }
    }

    pub(crate) fn may(&self, scope: KeyScope) -> bool {
        self.scopes.contains(&scope)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    /// As `access::admit` has found out.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(|| Problem::internal(&"a route asks who calls, but lets everybody in"))
    }
}

//! Who may do what: API keys, browsers' sessions and tenants' limits.

mod keys;
mod limits;
mod secret;
mod sessions;
mod stored;

pub use keys::{KeyScope, KeyView, LinkSecret, MAX_NOTE, NewKey};
pub use limits::{Allowance, Limits, TenantView};
pub use secret::{ApiKey, NotAKey, SessionToken};
pub use stored::NewFile;

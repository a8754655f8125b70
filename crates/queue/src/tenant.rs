//! Names of tenants.

use crate::Rejection;
use crate::rejection::MAX_TENANT;

/// Refuses what cannot be a tenant's name: names are parts of keys.
pub(crate) fn check_tenant(name: &str) -> Result<(), Rejection> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    // The two are no names in paths, and a tenant's name is a folder's.
    if matches!(name, "" | "." | "..") || name.len() > MAX_TENANT || !name.bytes().all(allowed) {
        return Err(Rejection::TenantName);
    }
    Ok(())
}

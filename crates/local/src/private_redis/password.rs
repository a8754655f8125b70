//! The password of a server: made once, and kept in its folder.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::private::{random_word, write_new};

/// Holds the password of a server that asks for one.
const FILE: &str = "password";

/// The password that was made before. Whoever could read it then can do so no more.
pub(super) fn read(folder: &Path) -> Option<String> {
    let path = folder.join(FILE);
    let password = std::fs::read_to_string(&path).ok()?.trim().to_owned();
    // What cannot be made private is made anew, or refused there.
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).ok()?;
    let is_ours = !password.is_empty() && password.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_ours.then_some(password)
}

/// Makes a new one at random and keeps it.
pub(super) fn create(folder: &Path) -> std::io::Result<String> {
    let password = random_word()? + &random_word()?;
    // Under another name first: half a password would lock the next owner out of a server that still runs.
    let (path, new) = (folder.join(FILE), folder.join("password.new"));
    let _ = std::fs::remove_file(&new);
    write_new(&new, password.as_bytes())?;
    std::fs::rename(&new, &path)?;
    Ok(password)
}

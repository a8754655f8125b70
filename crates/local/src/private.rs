//! Folders and files that other users of the machine cannot look into, and the random words in them.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes a folder for its owner alone; one that is there stays as it is.
pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The same, and takes everybody else's access to a folder that is there.
pub(crate) fn make_private(folder: &Path) -> io::Result<()> {
    create_folder(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// Writes a file that is not there yet, for its owner alone. It is on disk when this returns.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// 32 hexadecimal digits that nobody can guess.
pub(crate) fn random_word() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(hex::encode(bytes))
}

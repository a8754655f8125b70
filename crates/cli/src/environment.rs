//! Cleans up the environment before anything reads it: white space around a value is removed, and an empty variable
//! counts as unset.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Prefixes of the variables that this program or one of its libraries reads.
const OURS: [&str; 3] = ["USO_", "AWS_", "HF_"];

/// Restarts the program with a cleaned-up environment if it needs one: a process cannot safely change its own.
///
/// # Errors
/// If the program cannot be started again.
pub(crate) fn clean_up() -> io::Result<()> {
    let changes: Vec<_> = std::env::vars_os().filter_map(change).collect();
    if changes.is_empty() {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let mut again = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    again.args(arguments);
    for (name, value) in changes {
        match value {
            Some(value) => again.env(name, value),
            None => again.env_remove(name),
        };
    }
    Err(again.exec())
}

/// The cleaned-up value of a variable of ours that needs cleaning; an inner none unsets it.
fn change((name, value): (OsString, OsString)) -> Option<(OsString, Option<String>)> {
    let known = name.to_str().is_some_and(|name| OURS.iter().any(|ours| name.starts_with(ours)));
    let text = value.to_str().filter(|_| known)?;
    match text.trim() {
        "" => Some((name, None)),
        meant if meant == text => None,
        meant => Some((name, Some(meant.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::change;

    #[test]
    fn white_space_is_removed_and_an_empty_value_is_unset() {
        let meant = |name: &str, value: &str| change((name.into(), value.into())).map(|(_, value)| value);
        assert_eq!(meant("USO_REDIS", "redis://h"), None, "it needs no cleaning");
        assert_eq!(meant("USO_REDIS", " redis://h\r\n"), Some(Some("redis://h".into())));
        assert_eq!(meant("AWS_ACCESS_KEY_ID", "key\n"), Some(Some("key".into())));
        for empty in ["", " ", "\n"] {
            assert_eq!(meant("HF_TOKEN", empty), Some(None), "{empty:?}");
        }
        assert_eq!(meant("HOME", " "), None, "not ours");
    }
}

//! The environment, brought into shape before anything reads it: blanks and line ends around a value are no part
//! of it, and a variable without anything in it is one that is not set.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// How the names begin that this program or a library of it reads.
const OURS: [&str; 3] = ["USO_", "AWS_", "HF_"];

/// Goes on with the environment as it is meant. Where that is another than this process has, it begins once more
/// with it: a process cannot safely change its own.
///
/// # Errors
/// If the program cannot be run once more.
pub(crate) fn shape() -> io::Result<()> {
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

/// What a variable should be instead, if it is ours and something else; nothing for one that should not be.
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
    fn blanks_are_no_part_of_a_value_and_an_empty_one_is_none() {
        let meant = |name: &str, value: &str| change((name.into(), value.into())).map(|(_, value)| value);
        assert_eq!(meant("USO_REDIS", "redis://h"), None, "it is as it should be");
        assert_eq!(meant("USO_REDIS", " redis://h\r\n"), Some(Some("redis://h".into())));
        assert_eq!(meant("AWS_ACCESS_KEY_ID", "key\n"), Some(Some("key".into())));
        for empty in ["", " ", "\n"] {
            assert_eq!(meant("HF_TOKEN", empty), Some(None), "{empty:?}");
        }
        assert_eq!(meant("HOME", " "), None, "somebody else's");
    }
}

//! Files that somebody names.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Opens a regular file. A pipe may never say anything, a device may never end, and neither can be read twice.
///
/// # Errors
/// As [`File::open`], and for what is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    // To open a pipe waits for who writes to it, so it is looked at before.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    File::open(path)
}

/// Reads all of a regular file that has at most `most` bytes.
///
/// # Errors
/// As [`open`], and for a longer file.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_all(open(path)?, most)
}

/// Reads all of a file or a pipe that has at most `most` bytes. A pipe cannot be read again.
///
/// # Errors
/// As [`File::open`], for a folder, and for what is longer: a device that never ends, too.
pub fn read_once(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    read_all(File::open(path)?, most)
}

fn read_all(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is too large: at most {most} bytes are allowed")));
    }
    Ok(bytes)
}

/// Reads all of a regular text file, as [`read`].
///
/// # Errors
/// As [`read`], and for what is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn what_is_no_regular_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), Path::new("/dev/zero")] {
            assert_eq!(read(path, 10).unwrap_err().to_string(), "it is not a regular file");
        }
        assert_eq!(open(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_pipe_is_read_once_and_what_never_ends_is_too_large() {
        let (pipe, mut writer) = io::pipe().unwrap();
        writer.write_all(b"12345").unwrap();
        drop(writer);
        let place = format!("/dev/fd/{}", pipe.as_raw_fd());
        assert_eq!(read_once(place.as_ref(), 5).unwrap(), b"12345");
        let said = |path: &Path| read_once(path, 4).unwrap_err().to_string();
        assert_eq!(said("/dev/zero".as_ref()), "it is too large: at most 4 bytes are allowed");
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(said(folder.path()), "it is a folder");
        let file = folder.path().join("a");
        std::fs::write(&file, "1234").unwrap();
        assert_eq!(read_once(&file, 4).unwrap(), b"1234");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(said(&file), "it is too large: at most 4 bytes are allowed");
    }

    #[test]
    fn a_file_is_read_up_to_its_largest_size() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        assert_eq!(read(file.path(), 5).unwrap(), b"12345");
        assert_eq!(read_text(file.path(), u64::MAX).unwrap(), "12345");
        let error = read(file.path(), 4).unwrap_err().to_string();
        assert_eq!(error, "it is too large: at most 4 bytes are allowed");
        std::fs::write(file.path(), b"\xff").unwrap();
        assert_eq!(read_text(file.path(), 5).unwrap_err().to_string(), "it is not UTF-8 text");
    }
}

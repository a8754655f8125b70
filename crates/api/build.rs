//! Lists the files of the web page with their paths, so that all of them are compiled in.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let page = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("assets/page");
    // Of a folder, cargo looks at everything inside.
    println!("cargo:rerun-if-changed={}", page.display());
    let mut files = files_in(&page)?;
    files.sort();
    let mut list = String::from("[\n");
    for path in files {
        let name = name_in(&page, &path)?;
        list += &format!("    ({name:?}, include_bytes!({:?}).as_slice()),\n", path.display().to_string());
    }
    list += "]\n";
    fs::write(Path::new(&variable("OUT_DIR")?).join("page.rs"), list)
}

/// All files in a folder and in the folders inside it.
fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_in(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// The path of a file inside the page's folder, with `/` on every system.
fn name_in(page: &Path, file: &Path) -> io::Result<String> {
    let inside = file.strip_prefix(page).map_err(io::Error::other)?;
    Ok(inside.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/"))
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(io::Error::other)
}

//! Lists the files of the web page, so that they are compiled in whatever their names are.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let page = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("assets/page");
    println!("cargo:rerun-if-changed={}", page.display());
    let mut files: Vec<PathBuf> =
        fs::read_dir(&page)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    let mut list = String::from("[\n");
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        list += &format!("    ({name:?}, include_bytes!({:?}).as_slice()),\n", path.display().to_string());
    }
    list += "]\n";
    fs::write(Path::new(&variable("OUT_DIR")?).join("page.rs"), list)
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(io::Error::other)
}

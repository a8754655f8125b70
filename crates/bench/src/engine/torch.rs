//! The reference's side of a comparison: PyTorch, where it is installed.

use std::ffi::OsString;

use tokio::process::Command;

/// Its program, which comes with this one.
const PARTS: &str = include_str!("../../../../ops/bench/torch_parts.py");

/// Names the folder of the reference's checkout.
const REFERENCE: &str = "USO_REFERENCE";

/// Names a Python that has PyTorch and transformers.
const PYTHON: &str = "USO_TORCH_PYTHON";

/// A process that computes a part of the reference on so many threads; why there is none.
pub(super) fn part(name: &str, threads: usize) -> Result<Command, String> {
    if std::env::var_os(REFERENCE).is_none() {
        return Err(format!("{REFERENCE} does not name a checkout of the reference"));
    }
    let python = std::env::var_os(PYTHON).unwrap_or_else(|| OsString::from("python3"));
    let mut command = Command::new(python);
    command.args(["-c", PARTS, name, &threads.to_string()]);
    // Its libraries count the machine's cores too.
    for pool in ["OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
        command.env(pool, threads.to_string());
    }
    Ok(command)
}

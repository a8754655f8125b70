//! Compiles the kernels for the host, and runs their calls there.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use tempfile::TempDir;
use uso_engine::kernels::gemm::Operands;
use uso_engine::kernels::{Argument, Call, Gemm, Launch, Work};

use super::gemm::{Inputs, multiply, numbers, rounded};

/// The program that runs kernels on the host.
pub(super) struct Twin {
    folder: TempDir,
    program: PathBuf,
    files: AtomicU64,
    /// Whether products leave out their bias.
    drops_bias: bool,
}

/// A change of the source: the file, what it has, and what to write instead.
pub(super) struct Change(pub(super) &'static str, pub(super) &'static str, pub(super) &'static str);

/// The twins of the kernels as they are. Fails where they cannot be compiled.
pub(super) fn twin() -> &'static Twin {
    static TWIN: LazyLock<Result<Twin, String>> = LazyLock::new(|| Twin::build(&[]));
    match &*TWIN {
        Ok(twin) => twin,
        Err(reason) => panic!("{reason}"),
    }
}

impl Twin {
    /// Compiles the kernels, each change made once. With changes, products are faulty, too.
    pub(super) fn build(changes: &[Change]) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for from in ["src/kernels", "tests/kernels"] {
            for entry in fs::read_dir(root.join(from)).unwrap().map(Result::unwrap) {
                if entry.path().extension().is_none_or(|extension| extension == "rs") {
                    continue;
                }
                let mut text = fs::read_to_string(entry.path()).unwrap();
                for Change(file, old, new) in changes.iter().filter(|change| entry.file_name() == change.0) {
                    assert!(text.contains(old), "{file} has no {old}");
                    text = text.replacen(old, new, 1);
                }
                fs::write(folder.path().join(entry.file_name()), text).unwrap();
            }
        }
        let program = folder.path().join("run");
        let compiler = env::var("CXX").unwrap_or_else(|_| "c++".into());
        // Values are read as pairs and as bits. Fibers jump between stacks, which a check of fortified builds refuses.
        let flags = ["-std=c++17", "-O1", "-Wall", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE"];
        let built = Command::new(&compiler)
            .args(flags)
            .arg(folder.path().join("run.cpp"))
            .arg("-o")
            .arg(&program)
            .output()
            .map_err(|error| {
                format!("the kernels' host twins need a C++ compiler, and {compiler} cannot be run: {error} (ops/setup.sh installs one)")
            })?;
        if !built.status.success() {
            return Err(format!("{compiler}: {}", String::from_utf8_lossy(&built.stderr)));
        }
        Ok(Self { folder, program, files: AtomicU64::new(0), drops_bias: !changes.is_empty() })
    }

    /// Does the work in both orders that the host can run threads in, which must give the same bytes.
    pub(super) fn compute(&self, work: &Work) -> Result<Tensor, String> {
        let late = self.run(work, "late")?;
        if late != self.run(work, "early")? {
            return Err("the result depends on the order of threads".into());
        }
        Ok(tensor(&late, work.dtype).reshape(work.shape.as_slice()).unwrap())
    }

    fn run(&self, work: &Work, order: &str) -> Result<Vec<u8>, String> {
        let count: usize = work.shape.iter().product();
        // NaN in every type: what a kernel leaves out is seen.
        let output = self.file(&vec![0xff; count * work.dtype.size_in_bytes()]);
        for call in &work.calls {
            match call {
                Call::Kernel(call) => self.call(call, order, &output)?,
                Call::Product(gemm) => self.multiply(gemm, work.dtype, &output),
            }
        }
        Ok(fs::read(output).unwrap())
    }

    /// A product, in place of cuBLASLt.
    fn multiply(&self, gemm: &Gemm, dtype: DType, output: &Path) {
        let out = match dtype {
            DType::F16 => Operands::F16,
            DType::I32 => Operands::Int8,
            _ => Operands::Bf16,
        };
        let bias = gemm.bias.as_ref().filter(|_| !self.drops_bias).map(bytes);
        let scale = gemm.scale.as_ref().map(bytes);
        let inputs = Inputs { weight: bytes(&gemm.weight), x: bytes(&gemm.x), bias, scale };
        // What is there counts only where products add, which those of integers do not.
        let before = fs::read(output).unwrap();
        let before = match dtype {
            DType::I32 => vec![f64::NAN; before.len() / 4],
            _ => numbers(&before, out),
        };
        fs::write(output, rounded(&multiply(gemm, &inputs, &before, out), out)).unwrap();
    }

    fn call(&self, call: &Launch, order: &str, output: &Path) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        command.args([order, &call.kernel]);
        let [x, y] = call.grid;
        command.args([x, y, call.threads, call.shared_bytes].map(|number| number.to_string()));
        for argument in &call.arguments {
            match argument {
                Argument::Input(tensor) => command.arg(self.file(&bytes(tensor))),
                Argument::Output => command.arg(output),
                Argument::Integer(number) => command.arg(number.to_string()),
                Argument::Float(number) => command.arg(number.to_string()),
            };
        }
        let ran = command.output().unwrap();
        if ran.status.success() {
            return Ok(());
        }
        let mut reason = format!("{}: {}", call.kernel, ran.status);
        let _ = write!(reason, ": {}", String::from_utf8_lossy(&ran.stderr));
        Err(reason)
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.path().join(format!("{number}.tensor"));
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// The bytes from a tensor's first value to its last, with those that lie between its rows.
fn bytes(tensor: &Tensor) -> Vec<u8> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { panic!("the tensor is not on the CPU") };
    let extent: usize =
        layout.dims().iter().zip(layout.stride()).map(|(dim, stride)| (dim - 1) * stride).sum();
    let range = layout.start_offset()..=layout.start_offset() + extent;
    match storage {
        CpuStorage::F32(values) => values[range].iter().flat_map(|value| value.to_le_bytes()).collect(),
        CpuStorage::BF16(values) => values[range].iter().flat_map(|value| value.to_le_bytes()).collect(),
        CpuStorage::F16(values) => values[range].iter().flat_map(|value| value.to_le_bytes()).collect(),
        CpuStorage::U8(values) => values[range].to_vec(),
        CpuStorage::I32(values) => values[range].iter().flat_map(|value| value.to_le_bytes()).collect(),
        _ => panic!("no kernel reads {:?}", tensor.dtype()),
    }
}

fn tensor(bytes: &[u8], dtype: DType) -> Tensor {
    let count = bytes.len() / dtype.size_in_bytes();
    Tensor::from_raw_buffer(bytes, dtype, &[count], &Device::Cpu).unwrap()
}

//! A packed model draws what it was packed from, to the precision of its tier, with the LoRA in it.

use candle_core::{DType, Device};
use uso_engine::{Model, ModelFiles, Setup, Tier, Uso, pack};

use crate::formats::{distance, draw, recorded};
use crate::model_folder::{Copy, FLUX};
use crate::published::{Kind, raw, read, write_safetensors};

fn packed(copy: &Copy, tier: Tier) -> (tempfile::TempDir, ModelFiles) {
    let folder = tempfile::tempdir().unwrap();
    let mut last = None;
    let name = pack(&Model::open(&copy.files()).unwrap(), tier, folder.path(), &mut |progress| {
        last = Some(progress)
    })
    .unwrap();
    let progress = last.unwrap();
    assert_eq!(progress.done, progress.of, "{tier}");
    assert!(folder.path().join(name).metadata().unwrap().len() > progress.of);
    let files = ModelFiles::Folder(folder.path().to_owned());
    (folder, files)
}

#[test]
fn a_packed_model_needs_nothing_else_and_draws_the_same() {
    // Weights of 64 columns fit blocks of 32, not those of 256: these stay as they are.
    for (tier, limit) in [(Tier::Bf16, 2e-2), (Tier::Q8_0, 3e-2), (Tier::Fp8, 2e-1), (Tier::Q4K, 3e-2)] {
        let (_folder, files) = packed(&Copy::new(), tier);
        let inspection = Model::open(&files).unwrap().inspect();
        assert!(inspection.complete, "{tier}: {inspection:#?}");
        assert_eq!(inspection.packed, Some(tier.to_string()));
        let apart = distance(&draw(&files), &recorded());
        assert!(apart <= limit, "{tier}: {apart}");
    }
}

#[test]
fn packing_twice_gives_the_same_bytes_and_the_digest_tells_models_apart() {
    let first = Copy::new();
    let [(one, files), (other, _)] = [packed(&first, Tier::Q8_0), packed(&first, Tier::Q8_0)];
    let bytes = |folder: &tempfile::TempDir| std::fs::read(folder.path().join("uso-q8_0.gguf")).unwrap();
    assert!(bytes(&one) == bytes(&other));
    let changed = Copy::new();
    changed.edit(FLUX, |tensors| {
        let name = "single_blocks.0.linear1.weight";
        let doubled = (&tensors[name] * 2.0).unwrap();
        tensors.insert(name.into(), doubled);
    });
    let (_folder, other) = packed(&changed, Tier::Q8_0);
    let fingerprint = |files: &ModelFiles| {
        let uso = Uso::load(files, &Device::Cpu, DType::F32).unwrap();
        uso_engine::Engine::fingerprint(&uso).to_owned()
    };
    assert_ne!(fingerprint(&files), fingerprint(&other));
}

#[test]
fn what_is_quantised_already_is_not_packed() {
    let copy = Copy::new();
    let tensors = read(&copy.path(FLUX));
    let lowered = tensors.iter().map(|(name, tensor)| (name.clone(), raw(tensor, Kind::F8E4M3))).collect();
    write_safetensors(&copy.path(FLUX), &lowered, &[]);
    let folder = tempfile::tempdir().unwrap();
    let refused =
        pack(&Model::open(&copy.files()).unwrap(), Tier::Q8_0, folder.path(), &mut |_| {}).unwrap_err();
    let said = refused.to_string();
    assert!(said.contains(FLUX) && said.contains("already") && said.contains("bf16"), "{said}");
}

#[test]
fn a_packed_files_digest_is_trusted_unless_it_is_to_be_verified() {
    let (folder, files) = packed(&Copy::new(), Tier::Q8_0);
    let verify = |verify| {
        Uso::load_with(&files, &Setup { verify, ..Setup::new(Device::Cpu, DType::F32) })
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(verify(true), None, "as it was written");
    let path = folder.path().join("uso-q8_0.gguf");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 64;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(verify(false), None, "nobody looks");
    let said = verify(true).unwrap();
    assert!(said.contains("uso-q8_0.gguf") && said.contains("digest"), "{said}");
}

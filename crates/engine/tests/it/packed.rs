//! A packed model gives the picture of the original model, within the precision of its tier, including the LoRA.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device};
use uso_engine::plan::{Keep, Placement};
use uso_engine::weights::StoredType;
use uso_engine::{Engine, Model, ModelFiles, Place, Setup, Tier, Uso, pack};

use crate::formats::{distance, generate, recorded};
use crate::model_folder::{Copy, FLUX};
use crate::parity::Case;
use crate::published::{Kind, raw, read, write_safetensors};

pub(crate) fn packed(copy: &Copy, tier: Tier) -> (tempfile::TempDir, ModelFiles) {
    let folder = tempfile::tempdir().unwrap();
    let mut last = None;
    let packed = pack(&Model::open(&copy.files()).unwrap(), tier, folder.path(), &mut |progress| {
        last = Some(progress)
    })
    .unwrap();
    let progress = last.unwrap();
    assert_eq!(progress.done, progress.of, "{tier}");
    assert!(folder.path().join(packed.name).metadata().unwrap().len() > progress.of);
    let files = ModelFiles::Folder(folder.path().to_owned());
    (folder, files)
}

#[test]
fn a_packed_model_needs_nothing_else_and_gives_the_same_picture() {
    // Most weights have 64 columns, which fit blocks of 32, not those of 256: these stay as they are.
    for (tier, limit) in [(Tier::Bf16, 2e-2), (Tier::Q8_0, 3e-2), (Tier::Fp8, 2e-1), (Tier::Q4K, 3e-2)] {
        let (_folder, files) = packed(&Copy::new(), tier);
        let inspection = Model::open(&files).unwrap().inspect();
        assert!(inspection.complete, "{tier}: {inspection:#?}");
        assert_eq!(inspection.packed, Some(tier.to_string()));
        let apart = distance(&generate(&files), &recorded());
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
        uso.fingerprint().to_owned()
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
fn a_way_to_multiply_is_no_way_to_store() {
    let folder = tempfile::tempdir().unwrap();
    for (tier, stored) in [(Tier::Fp8W8A8, "fp8"), (Tier::Int8W8A8, "bf16")] {
        let refused = pack(&Model::open(&Copy::new().files()).unwrap(), tier, folder.path(), &mut |_| {});
        assert_eq!(
            refused.unwrap_err().to_string(),
            format!("tier: {tier} is a way to multiply {stored}: pack that")
        );
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_tier_that_no_matrix_can_have_is_no_way_to_store() {
    // The bundled model's rows are no multiples of the 256 numbers of a block.
    let folder = tempfile::tempdir().unwrap();
    let model = Model::open(&ModelFiles::Bundled).unwrap();
    let refused = pack(&model, Tier::Q4K, folder.path(), &mut |_| {}).unwrap_err().to_string();
    assert_eq!(refused, "tier: the rows of the matrices are not multiples of the blocks of q4_k");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn matrices_that_cannot_have_the_tier_are_counted() {
    let copy = Copy::new();
    let model = Model::open(&copy.files()).unwrap();
    for (tier, others) in [
        // Only the second layers of the multi-layer perceptrons have 256 columns.
        (Tier::Q4K, BTreeMap::from([(StoredType::BF16, 18)])),
        (Tier::Q8_0, BTreeMap::new()),
        (Tier::Bf16, BTreeMap::new()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let packed = pack(&model, tier, folder.path(), &mut |_| {}).unwrap();
        assert_eq!((packed.matrices, packed.others), (22, others), "{tier}");
    }
}

#[test]
fn packing_replaces_nothing() {
    let copy = Copy::new();
    let (folder, _) = packed(&copy, Tier::Q8_0);
    let model = Model::open(&copy.files()).unwrap();
    let pack = |tier| pack(&model, tier, folder.path(), &mut |_| {}).map_err(|error| error.to_string());
    let said = pack(Tier::Q8_0).unwrap_err();
    assert!(said.contains(FILE) && said.contains("is there already"), "{said}");
    pack(Tier::Fp8).expect("another file of the same model");
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    std::fs::remove_file(folder.path().join(FILE)).unwrap();
    let said = pack(Tier::Q8_0).unwrap_err();
    assert!(said.contains("config.json") && said.contains("is there already"), "{said}");
    assert!(!folder.path().join(FILE).exists());
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

/// The one weight file of a model that was packed in q8_0.
const FILE: &str = "uso-q8_0.gguf";

fn load(files: &ModelFiles) -> Uso {
    Uso::load(files, &Device::Cpu, DType::F32).unwrap()
}

/// Whether this process has mapped the weight file.
#[cfg(target_os = "linux")]
fn is_mapped(folder: &Path) -> bool {
    let path = folder.join(FILE).canonicalize().unwrap();
    std::fs::read_to_string("/proc/self/maps").unwrap().contains(path.to_str().unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn a_packed_model_is_used_where_it_lies() {
    let (folder, files) = packed(&Copy::new(), Tier::Q8_0);
    let uso = load(&files);
    assert!(is_mapped(folder.path()));
    drop(uso);
    assert!(!is_mapped(folder.path()), "nothing of it is left");
    let dequantised = Placement { keep: Keep::Tier(Tier::Bf16), ..Placement::default() };
    let model = Model::open(&files).unwrap();
    let place = Place::new(Device::Cpu, DType::F32);
    let flux = model.flux_with(model.changes(&[]).unwrap(), &place, &dequantised).unwrap();
    assert!(!is_mapped(folder.path()), "what is dequantised once is not used again");
    drop(flux);
}

#[test]
fn a_packed_file_that_is_replaced_under_its_name_is_used_on() {
    let (folder, files) = packed(&Copy::new(), Tier::Q8_0);
    let mut uso = load(&files);
    let sample = uso.encode(&Case::read("subject_two_styles").request()).unwrap();
    let prediction = |uso: &Uso| crate::golden::values(&uso.velocity(&sample).unwrap());
    let before = prediction(&uso);
    let path = folder.path().join(FILE);
    let other = folder.path().join("other");
    std::fs::write(&other, vec![0xaa; path.metadata().unwrap().len() as usize]).unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(prediction(&uso), before);
}

#[test]
fn a_packed_file_that_is_cut_before_it_is_loaded_is_named() {
    let (folder, files) = packed(&Copy::new(), Tier::Q8_0);
    let model = Model::open(&files).unwrap();
    let file = std::fs::File::options().write(true).open(folder.path().join(FILE)).unwrap();
    file.set_len(file.metadata().unwrap().len() / 4).unwrap();
    let parts = [
        model.flux(&Place::new(Device::Cpu, DType::F32)).err(),
        model.t5_encoder(&Place::new(Device::Cpu, DType::F32)).err(),
    ];
    // What is left may hold one of them.
    let errors: Vec<String> = parts.into_iter().flatten().map(|error| error.to_string()).collect();
    assert!(!errors.is_empty() && errors.iter().all(|error| error.contains(FILE)), "{errors:?}");
}

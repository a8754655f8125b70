//! Files that make the libraries which read them panic are refused by name, like other broken files.

use std::fs;
use std::io::Write;
use std::path::Path;

use uso_engine::tokenize::{ClipTokenizer, T5Tokenizer};
use uso_engine::{Error, Model, ModelFiles};
use zip::write::SimpleFileOptions;

/// A `torch.save` file with this pickle.
fn write_pickle(path: &Path, pickle: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    zip.start_file("archive/data.pkl", SimpleFileOptions::default()).unwrap();
    zip.write_all(pickle).unwrap();
    zip.finish().unwrap();
}

#[test]
fn a_pickle_that_its_reader_does_not_survive_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    // {"x": _rebuild_tensor_v2()}, a call without any of its arguments.
    let pickle = b"\x80\x02}X\x01\x00\x00\x00xctorch._utils\n_rebuild_tensor_v2\n)Rs.";
    write_pickle(&folder.path().join("t5-xxl/pytorch_model.bin"), pickle);
    let inspected = Model::open(&ModelFiles::Folder(folder.path().to_owned())).unwrap().inspect();
    let t5 = inspected.parts.into_iter().find(|part| part.part == "T5 encoder").unwrap();
    let fault = t5.fault.unwrap();
    assert!(fault.contains("t5-xxl/pytorch_model.bin") && fault.contains("broken"), "{fault}");
}

#[test]
fn a_tokenizer_that_its_reader_does_not_survive_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    // The merge's second token is shorter than the prefix that is taken off it.
    let json = r####"{
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "###",
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": { "a": 0, "b": 1, "ab": 2 }, "merges": [["a", "b"]]
        }
    }"####;
    fs::write(folder.path().join("tokenizer.json"), json).unwrap();
    let files = ModelFiles::Folder(folder.path().to_owned());
    let (t5, clip) = (T5Tokenizer::load(&files, "."), ClipTokenizer::load(&files, "."));
    for refused in [t5.err().unwrap(), clip.err().unwrap()] {
        let said = refused.to_string();
        assert!(matches!(refused, Error::Tokenizer(_)), "{said}");
        assert!(said.contains("tokenizer.json") && said.contains("broken"), "{said}");
    }
}

//! Every help page, beside the text stored for it.
//!
//! A change of words fails this test. To accept it, run the test with `INSTA_UPDATE=always` and commit the files in
//! `snapshots`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const SNAPSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/snapshots");

#[test]
fn every_help_page_is_the_stored_one() {
    let (mut pages, mut stored) = (Vec::new(), BTreeSet::new());
    collect(Vec::new(), &mut pages);
    for (command, text) in pages {
        let name = command.join("_");
        stored.insert(format!("it__help__{name}.snap"));
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, text) });
    }
    let files = std::fs::read_dir(SNAPSHOTS).unwrap();
    let files: BTreeSet<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, stored, "pages of commands that are no more");
}

/// Adds the page of a command, then those of its commands.
fn collect(command: Vec<String>, pages: &mut Vec<(Vec<String>, String)>) {
    let text = page(&command);
    let commands =
        text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = commands.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let names: Vec<_> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    pages.push(([vec!["uso".to_owned()], command.clone()].concat(), text));
    for name in names {
        collect([command.clone(), vec![name]].concat(), pages);
    }
}

/// The long help page, the same on every machine.
fn page(command: &[String]) -> String {
    let shown = Command::new(env!("CARGO_BIN_EXE_uso"))
        .args(command)
        .arg("--help")
        .env_clear()
        .current_dir(Path::new("/"))
        .output()
        .unwrap();
    assert!(shown.status.success(), "{command:?}: {shown:?}");
    String::from_utf8(shown.stdout).unwrap()
}

//! `uso model inspect`: shows what a model folder holds. Reads only headers.

use std::io::Write;

use anyhow::bail;
use uso_engine::model::{Inspection, PartInspection};
use uso_engine::{Model, ModelFiles};

use crate::args::InspectArgs;
use crate::commands::print;

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let inspection = Model::open(&ModelFiles::new(args.dir.as_deref()))?.inspect();
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", print::json(&inspection)?)?;
    } else {
        print(&mut out, &inspection)?;
    }
    match inspection.parts.iter().filter(|part| part.fault.is_some()).count() {
        0 => Ok(()),
        faults => bail!("{faults} of {} parts are missing or faulty", inspection.parts.len()),
    }
}

fn print(out: &mut impl Write, inspection: &Inspection) -> std::io::Result<()> {
    for part in &inspection.parts {
        print_part(out, part)?;
    }
    if !inspection.guidance {
        writeln!(out, "\nThe transformer takes no guidance (FLUX.1-schnell).")?;
    }
    for (path, reason) in &inspection.unreadable {
        writeln!(out, "\n{} {}", print::safe(path), print::safe(reason))?;
    }
    if !inspection.other_files.is_empty() {
        writeln!(out, "\nNot part of the model: {}", print::safe(&inspection.other_files.join(", ")))?;
    }
    Ok(())
}

fn print_part(out: &mut impl Write, part: &PartInspection) -> std::io::Result<()> {
    writeln!(out, "{}", part.part)?;
    let mut line = |name: &str, text: &str| {
        if text.is_empty() { Ok(()) } else { writeln!(out, "  {name:<14} {}", print::safe(text)) }
    };
    line("fault", part.fault.as_deref().unwrap_or_default())?;
    line("file", &part.files.join(", "))?;
    if let Some(container) = &part.container {
        let types: Vec<String> = part.types.iter().map(|(name, count)| format!("{count} {name}")).collect();
        line("tensors", &format!("{container}, {:.2} GB: {}", part.bytes as f64 / 1e9, types.join(", ")))?;
        line("used", &format!("{}, {} not used", part.used, part.unused))?;
    }
    line("unknown", &part.added.join(", "))?;
    line("configuration", part.configuration.as_deref().unwrap_or_default())?;
    line("tokenizer", part.tokenizer.as_deref().unwrap_or_default())?;
    line("not chosen", &part.passed_over.join(", "))?;
    line("digest", part.digest.as_deref().unwrap_or_default())
}

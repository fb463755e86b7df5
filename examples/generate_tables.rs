//! Writes the compact fact tables that the library and the mappings embed.
//!
//! `cargo run --example generate_tables -- <folder of facts>`: the folder holds `fhir-r4/elements.jsonl`, `fhir-r4/required-codes.json` and
//! `hl7v2/v{2.3.1,2.5.1,2.8.2}.json`. The output is a function of the input alone: no dates, no map order.
//! The code tables, `mappings/systems.toml` and `mappings/structures/events.toml` are edited by hand and not touched.

#[path = "generate_tables/sources.rs"]
mod sources;

use std::path::Path;

fn main() -> anyhow::Result<()> {
    let facts = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("usage: generate_tables <folder of facts>"))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, text) in sources::sources(Path::new(&facts))? {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, &text)?;
        println!("{} {} bytes", path.display(), text.len());
    }
    Ok(())
}

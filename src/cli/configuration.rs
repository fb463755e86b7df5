//! Which configuration a command takes: that of `--config`, else `handoff.toml` of the working directory, else the built-in one where the command can do without a file.
use crate::config::{Config, Problems};
use clap::Args;
use std::path::{Path, PathBuf};

/// The option that names it, the same for every command.
#[derive(Debug, Clone, Args)]
pub struct Configuration {
    /// The configuration; default: handoff.toml in the working directory, or where there is none and the command can do without, the built-in one (MLLP on 127.0.0.1:2575, data in
    /// handoff-data)
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

const FILE: &str = "handoff.toml";

impl Configuration {
    /// The file, for a command that cannot do without; whether it is there shows when it is read.
    pub fn file(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(FILE))
    }

    /// The file; none where the built-in configuration is taken.
    pub fn file_if_any(&self) -> Option<&Path> {
        Some(self.file()).filter(|file| self.config.is_some() || file.exists())
    }

    /// The configuration of a command that can do without a file. One that nobody named is told of: the data it leads to may not be those that were meant.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(&self) -> Result<Config, Problems> {
        let file = self.file_if_any();
        if self.config.is_none() && file.is_some() {
            eprintln!("configuration: {FILE}");
        }
        file.map_or_else(|| Ok(Config::default()), Config::load)
    }
}

//! `handoff token`: a new token for the admin API. Nothing of it is kept here; the configuration gets its hash, whoever is to use it the token.
use crate::admin::{Role, credentials};
use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use std::process::ExitCode;

/// Make tokens for the admin API
#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print a new token, once, and the line for the configuration
    Create {
        /// Whom the log is to name when it is used
        #[arg(long)]
        name: String,
        /// What it may do
        #[arg(long)]
        role: Named,
    },
}

/// A role by its name.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Named {
    Viewer,
    Operator,
    Admin,
    PhiReader,
}

/// Runs the command: exit 0. The token alone is on standard output, so that it can go straight into a file; all else is on standard error.
///
/// # Errors
/// For a name that the configuration would not take.
pub fn run(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    let What::Create { name, role } = &args.what;
    if name.is_empty()
        || name.len() > 64
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        bail!("--name must be 1 to 64 letters, digits, '-', '_' or '.'");
    }
    let role = match role {
        Named::Viewer => Role::Viewer,
        Named::Operator => Role::Operator,
        Named::Admin => Role::Admin,
        Named::PhiReader => Role::PhiReader,
    };
    let (token, hash) = credentials::create()?;
    eprintln!("This is the only time that the token is shown. In the configuration, below [admin]:");
    eprintln!("tokens = [{{ name = \"{name}\", role = \"{}\", sha256 = \"{hash}\" }}]", role.name());
    println!("{token}");
    Ok(ExitCode::SUCCESS)
}

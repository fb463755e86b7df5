//! `handoff token`: a new token for the admin API or the FHIR interface. Nothing of it is kept here; the configuration gets its hash, whoever is to use it the token.
use crate::admin::{Role, credentials};
use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use std::process::ExitCode;

/// Make tokens for the admin API and the FHIR interface
#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print a new token, once, and the line for the configuration
    Create(Whom),
}

#[derive(Debug, Args)]
struct Whom {
    /// For the admin API: whom the log is to name when it is used
    #[arg(long, requires = "role", required_unless_present_any = ["recipient", "steward"])]
    name: Option<String>,
    /// What it may do
    #[arg(long, requires = "name")]
    role: Option<Named>,
    /// For the FHIR interface: the id of a [[coordination.recipient]]
    #[arg(long, value_name = "ID", conflicts_with_all = ["name", "role", "steward"])]
    recipient: Option<String>,
    /// For the FHIR interface: who writes consents and care teams
    #[arg(long, value_name = "NAME", conflicts_with_all = ["name", "role"])]
    steward: Option<String>,
}

/// A role by its name.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Named {
    Viewer,
    Operator,
    Admin,
    PhiReader,
}

impl Named {
    pub(super) fn role(self) -> Role {
        match self {
            Named::Viewer => Role::Viewer,
            Named::Operator => Role::Operator,
            Named::Admin => Role::Admin,
            Named::PhiReader => Role::PhiReader,
        }
    }
}

/// Runs the command: exit 0. The token alone is on standard output, so that it can go straight into a file; all else is on standard error.
///
/// # Errors
/// For a name that the configuration would not take.
pub fn run(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    let What::Create(whom) = &args.what;
    let (token, hash) = credentials::create()?;
    let (below, line) = whom.line(&hash)?;
    eprintln!("This is the only time that the token is shown. In the configuration, below {below}:");
    eprintln!("{line}");
    println!("{token}");
    Ok(ExitCode::SUCCESS)
}

impl Whom {
    /// Where the configuration gets the hash of the token, and the line that it gets.
    fn line(&self, hash: &str) -> anyhow::Result<(String, String)> {
        if let Some(id) = plain("--recipient", self.recipient.as_deref())? {
            return Ok((format!("the [[coordination.recipient]] \"{id}\""), format!("token_sha256 = \"{hash}\"")));
        }
        if let Some(name) = plain("--steward", self.steward.as_deref())? {
            let line = format!("stewards = [{{ name = \"{name}\", sha256 = \"{hash}\" }}]");
            return Ok(("[coordination.fhir]".into(), line));
        }
        let (Some(name), Some(role)) = (plain("--name", self.name.as_deref())?, self.role) else {
            bail!("give --name and --role, or --recipient, or --steward");
        };
        let role = role.role();
        let line = format!("tokens = [{{ name = \"{name}\", role = \"{}\", sha256 = \"{hash}\" }}]", role.name());
        Ok(("[admin]".into(), line))
    }
}

/// A name that the configuration takes.
pub(super) fn plain<'n>(option: &str, name: Option<&'n str>) -> anyhow::Result<Option<&'n str>> {
    if let Some(name) = name
        && (name.is_empty()
            || name.len() > 64
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)))
    {
        bail!("{option} must be 1 to 64 letters, digits, '-', '_' or '.'");
    }
    Ok(name)
}

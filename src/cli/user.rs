//! `handoff user`: somebody who signs in to the desk. Nothing is kept here; the configuration gets the hash of the password, the person the password.
use super::token::{Named, plain};
use crate::admin::users;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use std::io::Read as _;
use std::process::ExitCode;

/// Make users for the desk, the pages of a running gateway
#[derive(Debug, Args)]
pub struct UserArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print a new password, once, and the line for the configuration
    Create(Whom),
}

#[derive(Debug, Args)]
struct Whom {
    /// By which they sign in, and whom the log names
    #[arg(long)]
    name: String,
    /// What they may do; several times for several roles
    #[arg(long, required = true)]
    role: Vec<Named>,
    /// Take the password from standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
}

/// Runs the command: exit 0. A password that was made is alone on standard output; all else is on standard error.
///
/// # Errors
/// For a name that the configuration would not take, or a password that is too short or too long.
pub fn run(args: &UserArgs) -> anyhow::Result<ExitCode> {
    let What::Create(whom) = &args.what;
    let name = plain("--name", Some(&whom.name))?.unwrap_or_default();
    let password = if whom.password_stdin { read_password()? } else { users::new_password()? };
    let hash = users::hash(&password)?;
    let mut roles = Vec::new();
    for role in &whom.role {
        let role = format!("\"{}\"", role.role().name());
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    if !whom.password_stdin {
        eprintln!("This is the only time that the password is shown.");
        println!("{password}");
    }
    eprintln!("In the configuration, below [admin]:");
    eprintln!("users = [{{ name = \"{name}\", roles = [{}], password = \"{hash}\" }}]", roles.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// The first line.
fn read_password() -> anyhow::Result<String> {
    let mut text = String::new();
    let limit = users::PASSWORD_BYTES_MAX as u64 + 2;
    std::io::stdin().take(limit).read_to_string(&mut text).context("cannot read the password from standard input")?;
    let password = text.lines().next().unwrap_or_default();
    if password.chars().count() < users::PASSWORD_CHARS_MIN {
        bail!(
            "a password needs at least {} characters; or leave out --password-stdin to have one made",
            users::PASSWORD_CHARS_MIN
        );
    }
    if password.len() > users::PASSWORD_BYTES_MAX {
        bail!("a password has at most {} bytes", users::PASSWORD_BYTES_MAX);
    }
    Ok(password.to_owned())
}

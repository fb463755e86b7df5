//! The `handoff` command: reads the arguments, runs one command, sets the exit code.
use clap::{Parser, Subcommand};
use handoff::cli;
use std::process::ExitCode;

/// HL7 v2 in, FHIR R4 out, to whoever subscribed.
#[derive(Debug, Parser)]
#[command(name = "handoff", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(cli::serve::ServeArgs),
    Send(cli::send::SendArgs),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve(args) => cli::serve::run(args),
        Command::Send(args) => cli::send::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

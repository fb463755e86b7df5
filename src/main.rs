//! The `handoff` command: reads the arguments, runs one command, sets the exit code.
use clap::{Parser, Subcommand};
use handoff::cli;
use std::process::ExitCode;

/// Messages come and go on several threads at once, which the allocators of glibc and musl pay for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// HL7 v2 in, FHIR R4 out, to whoever subscribed.
#[derive(Debug, Parser)]
#[command(name = "handoff", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Translate(cli::translate::TranslateArgs),
    Parse(cli::parse::ParseArgs),
    Explain(cli::explain::ExplainArgs),
    Test(cli::test::TestArgs),
    Coverage(cli::coverage::CoverageArgs),
    Serve(cli::serve::ServeArgs),
    Check(cli::check::CheckArgs),
    Send(cli::send::SendArgs),
    DeadLetters(cli::dead_letters::DeadLettersArgs),
    Codes(cli::codes::CodesArgs),
    Status(cli::remote::StatusArgs),
    Routes(cli::remote::RoutesArgs),
    Reload(cli::remote::ReloadArgs),
    Token(cli::token::TokenArgs),
    Messages(cli::messages::MessagesArgs),
    Replay(cli::replay::ReplayArgs),
    Journal(cli::journal::JournalArgs),
    Audit(cli::audit::AuditArgs),
    Bench(cli::bench::BenchArgs),
    /// Check, list and show the mappings
    Mappings(cli::mappings::MappingsArgs),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Translate(args) => cli::translate::run(&args),
        Command::Parse(args) => cli::parse::run(&args),
        Command::Explain(args) => cli::explain::run(&args),
        Command::Test(args) => cli::test::run(&args),
        Command::Coverage(args) => cli::coverage::run(&args),
        Command::Serve(args) => cli::serve::run(args),
        Command::Check(args) => cli::check::run(&args),
        Command::Send(args) => cli::send::run(args),
        Command::DeadLetters(args) => cli::dead_letters::run(args),
        Command::Codes(args) => cli::codes::run(&args),
        Command::Status(args) => cli::remote::status(&args),
        Command::Routes(args) => cli::remote::routes(&args),
        Command::Reload(args) => cli::remote::reload(&args),
        Command::Token(args) => cli::token::run(&args),
        Command::Messages(args) => cli::messages::run(args),
        Command::Replay(args) => cli::replay::run(args),
        Command::Journal(args) => cli::journal::run(&args),
        Command::Audit(args) => cli::audit::run(&args),
        Command::Bench(args) => cli::bench::run(args),
        Command::Mappings(args) => cli::mappings::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

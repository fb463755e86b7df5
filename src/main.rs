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
    User(cli::user::UserArgs),
    Messages(cli::messages::MessagesArgs),
    Replay(cli::replay::ReplayArgs),
    Journal(cli::journal::JournalArgs),
    Rosters(cli::rosters::RostersArgs),
    Measures(cli::measures::MeasuresArgs),
    Audit(cli::audit::AuditArgs),
    Bench(cli::bench::BenchArgs),
    /// Check, list and show the mappings
    Mappings(cli::mappings::MappingsArgs),
}

fn main() -> ExitCode {
    end_with_the_reader();
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
        Command::User(args) => cli::user::run(&args),
        Command::Messages(args) => cli::messages::run(args),
        Command::Replay(args) => cli::replay::run(args),
        Command::Journal(args) => cli::journal::run(&args),
        Command::Rosters(args) => cli::rosters::run(&args),
        Command::Measures(args) => cli::measures::run(&args),
        Command::Audit(args) => cli::audit::run(&args),
        Command::Bench(args) => cli::bench::run(args),
        Command::Mappings(args) => cli::mappings::run(args),
    };
    result.unwrap_or_else(|error| {
        let closed = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
        if error.root_cause().downcast_ref().is_some_and(closed) {
            return ExitCode::from(PIPE_CLOSED);
        }
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

/// What a shell says of a program that wrote to a pipe nobody reads any more (128 + SIGPIPE).
const PIPE_CLOSED: u8 = 141;

/// Whoever reads (`… | head`) may have enough: `println!` panics then, and that is no defect to be told of.
fn end_with_the_reader() {
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            std::process::exit(i32::from(PIPE_CLOSED));
        }
        others(panic);
    }));
}

//! Reads arguments and runs the command they name.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use coracle::args::{Args, Command};
use coracle::print::print_remark;

fn main() -> ExitCode {
    let args = Args::parse();
    // What runs inside containers: on runtimes of their own, as small as can be.
    let inside = match &args.command {
        Command::Pause => Some(coracle_agent::pause::main()),
        Command::Helper { words } => Some(coracle_agent::helper::main(words)),
        Command::DemoApp => Some(coracle_agent::demo_app::main()),
        _ => None,
    };
    match inside {
        None => run(args),
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            print_remark(format_args!("coracle: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: Args) -> ExitCode {
    log_to_stderr(args.command.is_server());
    if let Command::Completions { shell } = args.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "coracle", &mut script);
        // `| head -1` closes the pipe early: no fault.
        let _ = std::io::stdout().write_all(&script);
        return ExitCode::SUCCESS;
    }
    match args.run().await {
        Ok(code) => code,
        Err(error) => {
            print_remark(format_args!("coracle: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// `CORACLE_LOG` (as `RUST_LOG` elsewhere) says how much; servers tell what they do, commands only what went wrong.
fn log_to_stderr(server: bool) {
    // A command says itself, and better, that it cannot reach the API server.
    let default = if server { "info,h2=warn,hyper=warn,sled=warn" } else { "warn,kube_client=off" };
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("CORACLE_LOG").unwrap_or_else(|_| default.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

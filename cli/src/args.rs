//! The command line: every verb, and the dispatch to it.

use std::process::ExitCode;

use anyhow::Result;

use crate::cluster::Selection;
use crate::{components, demo, down, node, status, up, verbs};

/// Coracle: a container orchestrator small enough to read. It speaks the Kubernetes API, runs pods on Docker, and
/// says why.
#[derive(Debug, clap::Parser)]
#[command(name = "coracle", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "First steps:
  coracle demo           a guided tour: deploy, update, break and heal, in half a minute
  coracle up             start a cluster of three nodes on this machine's Docker
  kubectl get nodes      use it with kubectl, or with `coracle get nodes`
  coracle down --purge   remove all of it")]
pub struct Args {
    /// Which cluster
    #[command(flatten)]
    pub selection: Selection,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, clap::Subcommand)]
#[allow(missing_docs)]
pub enum Command {
    Up(up::Up),
    Down(down::Down),
    Status(status::StatusArgs),
    Node(node::Node),
    Demo(demo::Demo),
    Apiserver(components::ApiServer),
    Controllers(components::Controllers),
    Scheduler(components::Scheduler),
    Agent(components::AgentArgs),
    #[command(flatten)]
    Verb(verbs::Verb),
    /// Wait for a signal: the first process of every pod's sandbox
    #[command(hide = true)]
    Pause,
    /// Do one job as root for an agent: see agent/src/helper
    #[command(hide = true)]
    Helper {
        /// The job
        words: Vec<String>,
    },
    /// Serve the demo application: what its images run
    #[command(hide = true)]
    DemoApp,
    /// Print a script that completes commands in your shell
    #[command(after_help = "Example:
  source <(coracle completions bash)    for this shell; put it into ~/.bashrc for all")]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Whether it runs until it is told to stop.
    pub fn is_server(&self) -> bool {
        match self {
            Command::Up(up) => up.foreground,
            Command::Apiserver(_) | Command::Controllers(_) | Command::Scheduler(_) | Command::Agent(_) => {
                true
            }
            _ => false,
        }
    }
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    /// What went wrong, for a person to read.
    pub async fn run(self) -> Result<ExitCode> {
        let selection = &self.selection;
        match self.command {
            Command::Up(up) => up.run(selection).await?,
            Command::Down(down) => down.run(selection).await?,
            Command::Status(status) => status.run(selection).await?,
            Command::Node(node) => node.run(selection).await?,
            Command::Demo(demo) => demo.run(selection).await?,
            Command::Apiserver(component) => component.run(selection).await?,
            Command::Controllers(component) => component.run().await?,
            Command::Scheduler(component) => component.run().await?,
            Command::Agent(component) => component.run(selection).await?,
            Command::Verb(verb) => verb.run(selection).await?,
            // Handled in `main`, which knows the whole command line and starts no runtime for these.
            Command::Completions { .. } | Command::Pause | Command::Helper { .. } | Command::DemoApp => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Every command, and every command of a command, says what it does in lines that fit, with an example.
    #[test]
    fn help_fits_the_terminal_and_shows_by_example() {
        let mut command = Args::command();
        command.build();
        let mut left: Vec<(String, clap::Command)> = vec![("coracle".into(), command)];
        while let Some((name, mut command)) = left.pop() {
            let help = command.render_long_help().to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= 100, "{name}: {line}");
            }
            let hidden = command.is_hide_set() || name.ends_with(" help");
            assert!(
                hidden || help.contains("Example") || help.contains("First steps"),
                "{name} has no example"
            );
            if !hidden {
                left.extend(
                    command.get_subcommands().map(|c| (format!("{name} {}", c.get_name()), c.clone())),
                );
            }
        }
    }
}

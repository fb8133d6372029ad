//! The `coracle` command: it finds clusters, starts and stops them, and shows what happens inside.
//!
//! ```text
//!  coracle up --spawns--> coracle up --foreground: [apiserver + controllers + scheduler + agents]  <--control.sock-- coracle node|down
//!  coracle get, why, trace ... --HTTPS--> apiserver
//! ```

// Everything that is printed goes through `print`, which makes it harmless for a terminal.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod args;
mod assembly;
pub mod cluster;
pub mod cluster_flags;
pub mod components;
pub mod context;
pub mod control;
pub mod demo;
pub mod down;
pub mod explain;
mod health;
pub mod node;
pub mod parts;
pub mod print;
pub mod progress;
pub mod report;
pub mod run;
pub mod server;
pub mod size;
pub mod status;
pub mod store;
pub mod up;
pub mod verbs;

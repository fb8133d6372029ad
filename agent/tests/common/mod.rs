//! What the tests on a real engine share: the engine, an image that needs no registry, a cluster of one node.
#![allow(dead_code)] // each test binary uses its part of this

pub mod bench;
pub mod line;

use coracle_agent::docker::{self, DockerRuntime};
use coracle_agent::runtime::Runtime;

/// A static busybox with its usual names; without a command it waits for SIGTERM.
pub const IMAGE: &str = "coracle-test/busybox:3";

/// How [`IMAGE`] is made of its files.
pub const CHANGES: [&str; 2] = ["ENV PATH=/bin", "CMD [\"/bin/pause\"]"];

/// The engine, with [`IMAGE`]. `None`, said aloud, where there is no engine or no static busybox; a failure where an
/// engine is required.
pub async fn docker(what: &str) -> Option<DockerRuntime> {
    let required =
        std::env::var("CORACLE_REQUIRE").is_ok_and(|list| list.split(',').any(|one| one == "docker"));
    let runtime = match docker::connect().await {
        Ok(runtime) => runtime,
        Err(error) => {
            assert!(!required, "{what}: {error}");
            println!("SKIPPED {what}: {error}");
            return None;
        }
    };
    if runtime.image(IMAGE).await.unwrap().is_none() {
        let Some(busybox) = busybox() else {
            assert!(!required, "{what}: no static busybox to make an image of");
            println!("SKIPPED {what}: no static busybox to make an image of");
            return None;
        };
        runtime.import(IMAGE, root_folder(&busybox).into(), &CHANGES.map(String::from)).await.unwrap();
    }
    Some(runtime)
}

fn busybox() -> Option<Vec<u8>> {
    ["/usr/bin/busybox", "/bin/busybox"].iter().find_map(|path| std::fs::read(path).ok())
}

/// Another image than [`IMAGE`], for one test: whoever makes it removes it.
pub async fn other_image(runtime: &DockerRuntime) -> String {
    let name = format!("coracle-test/other-{}:1", std::process::id());
    let changes = ["ENV OTHER=1"].iter().chain(&CHANGES).map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let busybox = busybox().expect("the first image was made of it");
    runtime.import(&name, root_folder(&busybox).into(), &changes).await.unwrap();
    name
}

/// A tar with busybox and its usual names.
fn root_folder(busybox: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::create_dir(folder.path().join("tmp")).unwrap();
    std::fs::write(bin.join("busybox"), busybox).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bin.join("busybox"), mode).unwrap();
    for name in ["sh", "sleep", "cat", "echo", "kill", "pause", "tail", "mkdir", "dd"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
    }
    let script = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 3600 & wait; done\n";
    std::fs::remove_file(bin.join("pause")).unwrap();
    std::fs::write(bin.join("pause"), script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bin.join("pause"), mode).unwrap();
    let tar =
        std::process::Command::new("tar").arg("-C").arg(folder.path()).args(["-c", "."]).output().unwrap();
    tar.stdout
}

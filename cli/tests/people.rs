//! What people meet before and after a cluster runs: no engine, long paths, a kubeconfig of their own, a name that is
//! taken. Needs no Docker.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the command as a person with this home folder, whose engine does not answer.
fn coracle(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_coracle"))
        .env("HOME", home)
        .env("DOCKER_HOST", format!("unix://{}", home.join("no-engine.sock").display()))
        .env_remove("CORACLE_HOME")
        .env_remove("KUBECONFIG")
        .args(arguments)
        .output()
        .expect("the command runs")
}

/// Runs it, and expects that it works.
fn works(home: &Path, arguments: &[&str]) -> String {
    let out = coracle(home, arguments);
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "coracle {}: {said}", arguments.join(" "));
    said
}

/// Runs it, and expects that it refuses; answers what it said.
fn refuses(home: &Path, arguments: &[&str]) -> String {
    let out = coracle(home, arguments);
    assert!(!out.status.success(), "coracle {} works", arguments.join(" "));
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn without_an_engine_up_says_what_to_do_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    for command in [&["up"][..], &["up", "--foreground"], &["demo"]] {
        let said = refuses(home.path(), command);
        assert!(said.contains("--runtime sim"), "{command:?} suggests what works without: {said}");
    }
    let left: Vec<_> = std::fs::read_dir(home.path().join(".coracle")).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_simulated_cluster_in_a_folder_with_a_long_path_comes_and_goes() {
    let home = tempfile::tempdir().unwrap();
    let kube = home.path().join(".kube");
    std::fs::create_dir(&kube).unwrap();
    let mine = "apiVersion: v1\nkind: Config\ncurrent-context: work\ncontexts:\n- name: work\n  context: {cluster: w, user: w}\n";
    std::fs::write(home.path().join("dotfiles"), mine).unwrap();
    std::os::unix::fs::symlink("../dotfiles", kube.join("config")).unwrap();

    let folder = home.path().join("a-folder-with-a-long-name".repeat(5));
    let folder = folder.to_str().unwrap();
    works(home.path(), &["up", "--data-dir", folder, "--name", "far", "--runtime", "sim", "--nodes", "1"]);
    let config = std::fs::read_to_string(home.path().join("dotfiles")).unwrap();
    assert!(config.contains("current-context: coracle-far"), "{config}");
    let status = works(home.path(), &["status", "--data-dir", folder]);
    assert!(status.contains("far"), "{status}");
    let taken = refuses(home.path(), &["demo", "--data-dir", folder]);
    assert!(taken.contains("down --name far --purge"), "a tour takes no other cluster away: {taken}");

    works(home.path(), &["down", "--data-dir", folder, "--purge"]);
    let config = std::fs::read_to_string(home.path().join("dotfiles")).unwrap();
    assert!(config.contains("current-context: work"), "{config}");
    assert!(!config.contains("coracle"), "{config}");
    assert!(kube.join("config").is_symlink());

    // What is left of a cluster whose folder somebody removed by hand goes, too; what is not there is said to be so.
    let left = mine.replace(
        "- name: work\n",
        "- name: coracle-far\n  context: {cluster: coracle-far, user: f}\n- name: work\n",
    );
    assert_ne!(left, mine);
    std::fs::write(home.path().join("dotfiles"), left).unwrap();
    works(home.path(), &["down", "--name", "far"]);
    let config = std::fs::read_to_string(home.path().join("dotfiles")).unwrap();
    assert!(config.contains("work") && !config.contains("coracle"), "{config}");
    assert!(refuses(home.path(), &["down", "--name", "far"]).contains("there is no cluster"));
}

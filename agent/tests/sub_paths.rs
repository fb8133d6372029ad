//! A `subPath` on a real engine: containers see the folder or file of their volume that was checked and never another,
//! whoever exchanges it between the check and the mount.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coracle_agent::labels::{Identity, Mark, Owner};
use coracle_agent::runtime::{
    ContainerSpec, Mount, MountSource, PodFiles, Propagation, Runtime, State, VolumeContent, VolumeSpec,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

mod common;
use common::IMAGE;
use common::bench::{Bench, PATIENCE, pod};

/// How many containers start where nobody says: `CORACLE_STARTS=200` starts more.
const STARTS: usize = 24;

/// Exchanges a folder and a link to the machine's root folder until it is dropped.
struct Swapper(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Swapper {
    fn new(volume: &Path) -> Swapper {
        let (s, b) = (volume.join("s"), volume.join("b"));
        symlink("/", &b).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let swap = move || {
            while !told.load(Ordering::Relaxed) {
                renameat_with(CWD, &s, CWD, &b, RenameFlags::EXCHANGE).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        Swapper(over, Some(std::thread::spawn(swap)))
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().map(std::thread::JoinHandle::join);
    }
}

/// Asks until the path is the volume's own at the moment of the look.
async fn held(files: &dyn PodFiles, volume: &Path) -> MountSource {
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            match files.sub_path("uid", volume, "s", true).await {
                Ok(source) => return source,
                Err(error) => assert!(error.to_string().contains("out of the volume"), "{error}"),
            }
        }
    });
    asked.await.expect("it is the folder half of the time")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_folder_that_was_checked_is_mounted() {
    let Some(runtime) = common::docker("sub-path").await else { return };
    let starts = std::env::var("CORACLE_STARTS").ok().and_then(|text| text.parse().ok()).unwrap_or(STARTS);
    let cluster = format!("test-sub-path-{}", std::process::id());
    let owner = Owner::node(&cluster, "node-1");
    let folder = tempfile::tempdir().unwrap();
    let files = runtime.open_files(&folder.path().join("node"), &owner).await.unwrap();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let content = VolumeContent::Folder { in_memory: false };
    let spec = VolumeSpec { name: "v".into(), content, group: None, now, turn: 0 };
    let MountSource::Path(volume) = files.make_volume("uid", spec).await.unwrap() else { panic!("no path") };
    std::fs::create_dir(volume.join("s")).unwrap();
    std::fs::write(volume.join("s/right"), "").unwrap();
    let identity = |container: String| Identity {
        namespace: "ns".into(),
        pod: "x".into(),
        uid: "0123456789".into(),
        container,
        attempt: 0,
        backoff: 0,
    };
    let described = |container: String| ContainerSpec {
        name: identity(container.clone()).container_name(&cluster),
        labels: identity(container).labels(&cluster, "node-1"),
        image: IMAGE.into(),
        ..ContainerSpec::default()
    };
    // By a container that runs an agent sees whether its processes have the engine's numbers.
    let first = runtime.create(&described("first".into())).await.unwrap();
    runtime.start(&first).await.unwrap();

    let swapper = Swapper::new(&volume);
    for n in 0..starts {
        let source = held(files.as_ref(), &volume).await;
        let mount =
            Mount { source, target: "/m".into(), read_only: false, propagation: Propagation::Private };
        let script = "[ -f /m/right ] && echo wrote > /m/written";
        let spec = ContainerSpec {
            entrypoint: ["sh", "-c", script].map(String::from).to_vec(),
            mounts: vec![mount],
            ..described(format!("c{n}"))
        };
        let id = runtime.create(&spec).await.unwrap();
        runtime.start(&id).await.unwrap();
        tokio::time::timeout(PATIENCE, runtime.ended(&id)).await.expect("it ends").unwrap();
        let state = runtime.inspect(&id).await.unwrap().unwrap().state;
        assert!(matches!(state, State::Exited { code: 0, .. }), "start {n} saw another folder: {state:?}");
        runtime.remove(&id).await.unwrap();
    }
    drop(swapper);
    let possible = ["s", "b"].map(|name| volume.join(name).join("written"));
    assert!(possible.iter().any(|written| written.exists()), "it is the volume's own folder");
    assert!(
        volume.join("s/right").exists() || volume.join("b/right").exists(),
        "no volume takes files with it"
    );
    let roots = [folder.path().join("node")];
    let removed = coracle_agent::cleanup(&runtime, &Mark::new(&cluster, None), None, &roots).await.unwrap();
    assert_eq!((removed.containers, removed.volumes), (1, 0), "a container takes its volumes with it");
}

/// Folders and files, made by the pod's own containers; and a link that leads out is refused with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn pods_mount_folders_and_files_of_a_volume() {
    let Some(bench) = Bench::new("sub-paths").await else { return };
    let mount = |path: &str, sub_path: &str| json!({"name": "d", "mountPath": path, "subPath": sub_path});
    let shell = |name: &str, script: &str, mounts: Value| json!({"name": name, "image": IMAGE, "command": ["sh", "-c", script], "volumeMounts": mounts});
    // Only of a file that it may write to can an agent that is not root make a second name.
    let make = "mkdir -p /d/a/b; echo folder > /d/a/b/f; echo file > /d/one; /bin/busybox chmod 666 /d/one";
    let read =
        "cat /a/f /one > /dev/termination-log; echo new > /fresh/f; cat /fresh/f >> /dev/termination-log";
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [shell("make", make, json!([{"name": "d", "mountPath": "/d"}]))],
        "containers": [shell("read", read, json!([mount("/a", "a/b"), mount("/one", "one"), mount("/fresh", "x/y")]))],
        "volumes": [{"name": "d", "emptyDir": {}}],
    });
    let key = bench.create(pod("x", spec)).await;
    let status = bench.until(&key, "over", |status| status["phase"] == "Succeeded").await;
    let ended = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(ended["message"], "folder\nfile\nnew\n", "{status:#}");

    let link = "/bin/busybox ln -s / /d/a";
    let spec = json!({
        "initContainers": [shell("make", link, json!([{"name": "d", "mountPath": "/d"}]))],
        "containers": [shell("read", "sleep 3600", json!([mount("/a", "a")]))],
        "volumes": [{"name": "d", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 0,
    });
    let key = bench.create(pod("y", spec)).await;
    let waits = |status: &Value| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    };
    let status = bench.until(&key, "refused", waits).await;
    let message = &status["containerStatuses"][0]["state"]["waiting"]["message"];
    assert_eq!(message, "failed to prepare subPath for volumeMount \"d\" of container \"read\"");
    bench.finish().await;
}

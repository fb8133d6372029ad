//! Slow, broken and greedy clients, over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use coracle_api::kinds;
use coracle_client::Op;
use coracle_client::kubeconfig::Credentials;
use coracle_client::line::{Attach, Frame, Lines as _, STDIN, STDOUT, What};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::tests::{ask, connect, get, get_as};
use crate::connections::Limits;
use crate::server::{Config, Server};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct Bench {
    _dir: tempfile::TempDir,
    server: Server,
    admin: Credentials,
}

async fn bench(limits: Limits) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = Server::start(Config { limits, ..config }).await.unwrap();
    let admin = server.pki().admin(&format!("https://{}", server.address())).unwrap();
    Bench { _dir: dir, server, admin }
}

impl Bench {
    async fn stranger(&self) -> TlsStream<TcpStream> {
        connect(&self.server, None).await
    }

    /// A connection of the administrator's on which this has been sent.
    async fn sent(&self, text: &str) -> TlsStream<TcpStream> {
        let mut stream = connect(&self.server, Some(&self.admin)).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn get(&self, path: &str) -> (u16, String) {
        timeout(LONG, get_as(&self.server, path, Some(&self.admin))).await.expect("an answer")
    }
}

/// Reads until the other side closes; the bytes that came before.
async fn until_closed(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    let closed = async {
        // A connection that is cut off ends in an error, which is an end, too.
        while let Ok(read) = stream.read(&mut piece).await {
            if read == 0 {
                return;
            }
            all.extend_from_slice(&piece[..read]);
        }
    };
    timeout(LONG, closed).await.expect("the server closes the connection");
    all
}

fn is_open(stream: &mut TlsStream<TcpStream>) -> bool {
    use futures::FutureExt;
    !matches!(stream.read_u8().now_or_never(), Some(Err(_)))
}

fn short() -> Limits {
    let moment = Duration::from_secs(2);
    Limits { handshake: moment, first_request: moment, body: moment, ..Limits::default() }
}

#[tokio::test]
async fn idle_strangers_make_room_and_the_cluster_keeps_its_slots() {
    let bench = bench(Limits { shaking: 4, cluster: 2, others: 3, ..Limits::default() }).await;
    // HTTP/2: the preface and empty settings, and then nothing.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut strangers = Vec::new();
    for _ in 0..3 {
        let mut stranger = bench.stranger().await;
        stranger.write_all(preface).await.unwrap();
        // The server's settings have come: the connection stands.
        timeout(LONG, stranger.read_exact(&mut [0; 9])).await.unwrap().unwrap();
        strangers.push(stranger);
    }
    let watch = "GET /api/v1/nodes?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut node = bench.sent(watch).await;
    timeout(LONG, node.read_exact(&mut [0; 12])).await.unwrap().unwrap();
    for _ in 0..6 {
        let mut next = bench.stranger().await;
        next.write_all(preface).await.unwrap();
        timeout(LONG, next.read_exact(&mut [0; 9])).await.unwrap().unwrap();
        until_closed(&mut strangers.remove(0)).await;
        strangers.push(next);
        assert_eq!(bench.get("/api").await.0, 200, "there is a slot for those who are known");
    }
    assert_eq!(timeout(LONG, get(&bench.server, "/livez")).await.unwrap().0, 200);
    assert!(is_open(&mut node), "the cluster's connections stay");
    bench.server.shutdown().await;
}

#[tokio::test]
async fn whoever_does_not_ask_is_not_waited_for() {
    let bench = bench(short()).await;
    // No handshake; no head; half a head, over HTTP/1 and HTTP/2.
    let mut silent = TcpStream::connect(bench.server.address()).await.unwrap();
    assert!(until_closed(&mut silent).await.is_empty());
    let halves: [&[u8]; 4] =
        [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PRI * HT"];
    for half in halves {
        let mut stranger = bench.stranger().await;
        stranger.write_all(half).await.unwrap();
        let told = until_closed(&mut stranger).await;
        assert!(!told.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&told));
    }
    assert_eq!(bench.get("/livez").await.0, 200);
    bench.server.shutdown().await;
}

#[tokio::test]
async fn a_body_has_a_size_and_a_time() {
    let bench = bench(short()).await;
    let large = "x".repeat((3 << 20) + 1);
    let (code, body) = ask(&bench.server, Some(&bench.admin), "POST", MAPS, &large).await;
    let status: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &status["reason"]), (413, &json!("RequestEntityTooLarge")), "{body}");
    let cases = [
        ("a body that stops", "Content-Length: 100\r\n\r\n{\"metadata\":"),
        ("chunks that stop", "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"met"),
    ];
    for (case, rest) in cases {
        let mut stream = bench.sent(&format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\n{rest}")).await;
        let told = String::from_utf8(until_closed(&mut stream).await).unwrap();
        assert!(told.starts_with("HTTP/1.1 408 "), "{case}: {told}");
    }
    // Without rights, nothing of a body is read.
    let mut stranger = bench.stranger().await;
    let head =
        format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n");
    stranger.write_all(head.as_bytes()).await.unwrap();
    let told = String::from_utf8(until_closed(&mut stranger).await).unwrap();
    assert!(told.starts_with("HTTP/1.1 401 "), "{told}");
    bench.server.shutdown().await;
}

#[tokio::test]
async fn who_asks_and_does_not_read_is_given_up() {
    let bench = bench(Limits { unread: Duration::from_secs(1), ..Limits::default() }).await;
    let large = json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(1 << 20)}}).to_string();
    assert_eq!(ask(&bench.server, Some(&bench.admin), "POST", MAPS, &large).await.0, 201);
    let get = format!("GET {MAPS}/large HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut stream = bench.sent(&get).await;
    // It asks on and on, until the server takes nothing any more, and then waits. Only a connection that is cut off ends that.
    let asking = async {
        loop {
            if let Err(error) = stream.write_all(get.as_bytes()).await {
                return error;
            }
        }
    };
    timeout(LONG, asking).await.expect("the server gives up");
    assert_eq!(bench.get("/livez").await.0, 200);
    bench.server.shutdown().await;
}

#[tokio::test]
async fn a_write_is_done_or_not_when_its_client_breaks_off() {
    let bench = bench(Limits::default()).await;
    let post = |name: &str, claimed: usize| {
        let body = json!({"metadata": {"name": name}}).to_string();
        let length = body.len() + claimed;
        format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    // Broken off before the body has come: nothing is made.
    for name in ["reset", "closed"] {
        let mut stream = bench.sent(&post(name, 50)).await;
        if name == "reset" {
            stream.get_mut().0.set_zero_linger().unwrap();
        } else {
            stream.shutdown().await.unwrap();
        }
        drop(stream);
    }
    // Everything has come, and then the client hangs up, or says that it sends no more: it is made, or it is not.
    let hung_up = bench.sent(&post("hung-up", 0)).await;
    drop(hung_up);
    let mut half = bench.sent(&post("half-closed", 0)).await;
    half.shutdown().await.unwrap();
    until_closed(&mut half).await;
    for name in ["hung-up", "half-closed"] {
        let body = json!({"metadata": {"name": name}}).to_string();
        let (code, told) = ask(&bench.server, Some(&bench.admin), "POST", MAPS, &body).await;
        assert!(matches!(code, 201 | 409), "{name}: {code} {told}");
        assert_eq!(bench.get(&format!("{MAPS}/{name}")).await.0, 200, "{name}");
    }
    for name in ["reset", "closed"] {
        assert_eq!(bench.get(&format!("{MAPS}/{name}")).await.0, 404, "{name}");
    }
    bench.server.shutdown().await;
}

/// A pod on a node whose agent tells which sessions it is asked for, and says the pod's name in each.
async fn pod_with_agent(server: &Server) -> mpsc::UnboundedReceiver<Vec<Bytes>> {
    let client = server.client("test", &["system:masters"]);
    let make = |kind: &'static coracle_api::Kind, namespace: &str, object: Value| Op::Create {
        kind: kind.into(),
        namespace: namespace.into(),
        sub: None,
        object,
    };
    client.write_one(make(&kinds::NODE, "", json!({"metadata": {"name": "n1"}}))).await.unwrap();
    client
        .write_one(make(&kinds::SERVICE_ACCOUNT, "default", json!({"metadata": {"name": "default"}})))
        .await
        .unwrap();
    let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
    client
        .write_one(make(&kinds::POD, "default", json!({"metadata": {"name": "web"}, "spec": spec})))
        .await
        .unwrap();
    let lines = server.lines();
    let mut orders = lines.connect("n1").await.unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(order)) = orders.next().await {
            let mut session = lines.attend("n1", order.session).await.unwrap();
            let (tell, pod) = (tell.clone(), Bytes::from(order.pod));
            tokio::spawn(async move {
                let is_log = matches!(order.what, Some(What::Logs(_)));
                session.send.send(Frame::Accepted).await.unwrap();
                if order.what == Some(What::Attach(Attach::default())) {
                    // Only asked for, as it is for clients of SPDY: nothing runs.
                    return;
                }
                session.send.send(Frame::Data { channel: STDOUT, data: pod }).await.unwrap();
                let mut heard = Vec::new();
                while !is_log && heard.len() < 2 {
                    match session.receive.recv().await {
                        Some(Frame::Data { channel: STDIN, data }) => heard.push(data),
                        Some(_) => {}
                        None => break,
                    }
                }
                let _ = tell.send(heard);
                let _ = session.send.send(Frame::Closed(None)).await;
            });
        }
    });
    told
}

fn upgrade(path: &str, method: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n{headers}\r\n")
}

const SOCKET: &str =
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const POD: &str = "/api/v1/namespaces/default/pods/web";

/// The head of an answer.
async fn head(stream: &mut TlsStream<TcpStream>) -> String {
    let mut head = Vec::new();
    let whole = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(LONG, whole).await.expect("a head");
    String::from_utf8(head).unwrap()
}

/// The next frame from a server: its opcode and what it holds.
async fn frame(stream: &mut TlsStream<TcpStream>) -> (u8, Vec<u8>) {
    let whole = async {
        let (first, length) = (stream.read_u8().await.unwrap(), stream.read_u8().await.unwrap());
        let length = match length {
            126 => usize::from(stream.read_u16().await.unwrap()),
            short => usize::from(short),
        };
        let mut data = vec![0; length];
        stream.read_exact(&mut data).await.unwrap();
        (first & 0x0f, data)
    };
    timeout(LONG, whole).await.expect("a frame")
}

/// A short frame as clients send it: masked, here with zeros.
fn masked(opcode: u8, data: &[u8]) -> Vec<u8> {
    [&[0x80 | opcode, 0x80 | u8::try_from(data.len()).unwrap(), 0, 0, 0, 0], data].concat()
}

#[tokio::test]
async fn what_cannot_be_answered_does_not_run() {
    let bench = bench(Limits::default()).await;
    let mut ran = pod_with_agent(&bench.server).await;
    let exec = format!("{POD}/exec?command=touch&command=/x&stdout=1");
    let spdy = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n";
    let unknown = format!("{SOCKET}Sec-WebSocket-Protocol: v9.channel.k8s.io\r\n");
    let old = SOCKET.replace("Version: 13", "Version: 8");
    let no_key = SOCKET.lines().take(2).map(|line| format!("{line}\r\n")).collect::<String>();
    let cases = [
        ("SPDY", "POST", spdy, 400),
        ("no upgrade", "POST", "", 400),
        ("an unknown protocol", "GET", &unknown, 403),
        ("an old WebSocket", "GET", &old, 400),
        ("a WebSocket without a key", "GET", &no_key, 400),
        ("a WebSocket by POST", "POST", SOCKET, 405),
    ];
    for (case, method, headers, code) in cases {
        for path in [&exec, &format!("{POD}/attach?stdout=1")] {
            let mut stream = bench.sent(&upgrade(path, method, headers)).await;
            let head = head(&mut stream).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{case}: {head}");
        }
    }
    assert!(ran.try_recv().is_err(), "nothing has reached the container");

    // The same as it should be: text and binary messages both reach it.
    let known = format!("{SOCKET}Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n");
    let mut stream = bench.sent(&upgrade(&format!("{exec}&stdin=1"), "GET", &known)).await;
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    assert_eq!(frame(&mut stream).await, (2, vec![STDOUT]));
    assert_eq!(frame(&mut stream).await, (2, b"\x01web".to_vec()));
    stream.write_all(&masked(1, b"\0text")).await.unwrap();
    stream.write_all(&masked(2, b"\0\xff")).await.unwrap();
    let heard = timeout(LONG, ran.recv()).await.unwrap().unwrap();
    assert_eq!(heard, [Bytes::from_static(b"text"), Bytes::from_static(b"\xff")]);
    bench.server.shutdown().await;
}

#[tokio::test]
async fn logs_and_watches_come_over_a_socket() {
    let bench = bench(Limits::default()).await;
    let _told = pod_with_agent(&bench.server).await;
    let log = format!("{POD}/log");
    let cases = [
        ("", 2, &b""[..], &b"web"[..]),
        ("binary.k8s.io", 2, b"", b"web"),
        ("base64.binary.k8s.io", 1, b"", b"d2Vi"),
    ];
    for (protocol, opcode, first, second) in cases {
        let offer = match protocol {
            "" => String::new(),
            name => format!("Sec-WebSocket-Protocol: {name}\r\n"),
        };
        let mut stream = bench.sent(&upgrade(&log, "GET", &format!("{SOCKET}{offer}"))).await;
        let head = head(&mut stream).await.to_lowercase();
        assert!(head.starts_with("http/1.1 101 ") && head.contains(&offer.trim().to_lowercase()), "{head}");
        assert_eq!(frame(&mut stream).await, (opcode, first.to_vec()), "{protocol}");
        assert_eq!(frame(&mut stream).await, (opcode, second.to_vec()), "{protocol}");
        assert_eq!(frame(&mut stream).await.0, 8, "{protocol}: it closes");
    }
    let wrong = format!("{SOCKET}Sec-WebSocket-Protocol: channel.k8s.io\r\n");
    let mut stream = bench.sent(&upgrade(&log, "GET", &wrong)).await;
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 403 "));

    let mut stream = bench.sent(&upgrade("/api/v1/nodes?watch=1", "GET", SOCKET)).await;
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    let (opcode, event) = frame(&mut stream).await;
    let event: Value = serde_json::from_slice(&event).unwrap();
    assert_eq!(
        (opcode, &event["type"], &event["object"]["metadata"]["name"]),
        (1, &json!("ADDED"), &json!("n1"))
    );
    bench.server.shutdown().await;
}

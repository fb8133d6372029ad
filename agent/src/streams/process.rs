//! Relays the input and the output of a process.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Status;
use coracle_api::status::{Cause, Details};
use coracle_client::line::{CLOSE, Duplex, Frame, RESIZE, STDERR, STDIN, STDOUT};
use futures::{Stream, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::ending::ending;
use crate::runtime::{Error, Output, Process, Session, TerminalSize};

/// How long the engine may take to know a process's exit code after its output has ended.
const EXIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How the engine says, in the output, that a command could not be started at all.
const NOT_STARTED: &[u8] = b"OCI runtime exec failed";
/// The codes that go with it: not executable, not found.
const NOT_STARTED_CODES: [i64; 2] = [126, 127];

/// How long a command that gets a terminal waits for its size, which a client sends when it knows that the session has begun.
/// Clients without a window send none.
const FIRST_SIZE: Duration = Duration::from_millis(300);

/// What a client has sent before its command runs.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Beginning {
    /// The size of its terminal.
    pub(super) size: Option<TerminalSize>,
    /// What came in place of it, or with it.
    early: Option<Frame>,
}

/// Waits for the size of a client's terminal. A program that is told it only later draws its first screen for none.
pub(super) async fn first_size(receive: &mut mpsc::Receiver<Frame>) -> Beginning {
    match tokio::time::timeout(FIRST_SIZE, receive.recv()).await {
        Ok(Some(Frame::Data { channel: RESIZE, data })) => {
            Beginning { size: serde_json::from_slice(&data).ok(), early: None }
        }
        Ok(early) => Beginning { size: None, early },
        Err(_) => Beginning::default(),
    }
}

/// What is reported at the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The process's exit code.
    ExitCode,
    /// Nothing: the process is the container's own, and the pod's status shows how it ended.
    Silent,
}

/// Relays a session until the process is over, the other end is gone, or a container has ended: the process's own.
pub(super) async fn relay(
    process: Session,
    session: Duplex,
    beginning: Beginning,
    end: End,
    container: impl Future<Output = ()>,
) -> Result<(), Status> {
    let Session { output, input, process } = process;
    // Side by side: a process that does not read its input must not keep its output from being read.
    tokio::select! {
        biased;
        result = outward(ending(output, container), &session.send, &process, end) => result,
        () = inward(input, beginning.early, session.receive, process.clone()) => Ok(()),
    }
}

async fn outward(
    output: impl Stream<Item = Result<Output, Error>>,
    send: &mpsc::Sender<Frame>,
    process: &Arc<dyn Process>,
    end: End,
) -> Result<(), Status> {
    let frame = |piece: Output| {
        let channel = if piece.stderr { STDERR } else { STDOUT };
        Frame::Data { channel, data: piece.data }
    };
    let mut output = std::pin::pin!(output);
    let mut first = true;
    let mut held = None;
    while let Some(piece) = output.next().await {
        let piece = piece.map_err(Status::internal)?;
        if std::mem::take(&mut first) && end == End::ExitCode && piece.data.starts_with(NOT_STARTED) {
            held = Some(piece);
            continue;
        }
        if send.send(frame(piece)).await.is_err() {
            return Ok(());
        }
    }
    if end == End::Silent {
        return Ok(());
    }
    let code = exit_code(process).await?;
    match held {
        Some(piece) if NOT_STARTED_CODES.contains(&code) => {
            return Err(cannot_run(&String::from_utf8_lossy(&piece.data).trim_end()));
        }
        Some(piece) => {
            let _ = send.send(frame(piece)).await;
        }
        None => {}
    }
    if code == 0 { Ok(()) } else { Err(exited(code)) }
}

/// Ends when the other end is gone.
async fn inward(
    input: Pin<Box<dyn AsyncWrite + Send>>,
    mut early: Option<Frame>,
    mut receive: mpsc::Receiver<Frame>,
    process: Arc<dyn Process>,
) {
    let mut input = Some(input);
    loop {
        let next = match early.take() {
            Some(frame) => Some(frame),
            None => receive.recv().await,
        };
        let Some(frame) = next else { return };
        let Frame::Data { channel, data } = frame else { continue };
        match channel {
            STDIN => {
                // A process that has closed its input does not get any more; that is no fault.
                if let Some(to) = &mut input
                    && (to.write_all(&data).await.is_err() || to.flush().await.is_err())
                {
                    input = None;
                }
            }
            RESIZE => {
                if let Ok(size) = serde_json::from_slice::<TerminalSize>(&data)
                    && let Err(error) = process.resize(size).await
                {
                    tracing::debug!(%error, "terminal keeps its size");
                }
            }
            CLOSE if data.first() == Some(&STDIN) => {
                if let Some(mut to) = input.take() {
                    let _ = to.shutdown().await;
                }
            }
            _ => {}
        }
    }
}

async fn exit_code(process: &Arc<dyn Process>) -> Result<i64, Status> {
    let known = async {
        loop {
            if let Some(code) = process.exit_code().await.map_err(Status::internal)? {
                return Ok(code);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let late = |_| Status::internal("the engine does not tell how the command ended");
    tokio::time::timeout(EXIT, known).await.map_err(late)?
}

/// The command ran and failed.
fn exited(code: i64) -> Status {
    let cause = Cause { reason: "ExitCode".into(), message: code.to_string(), ..Cause::default() };
    let message = format!("command terminated with non-zero exit code: exit status {code}");
    Status::failure(0, "NonZeroExitCode", message)
        .with_details(Details { causes: vec![cause], ..Details::default() })
}

/// The command did not run.
pub(super) fn cannot_run(why: &dyn std::fmt::Display) -> Status {
    Status::internal(format!("error executing command in container: failed to exec in container: {why}"))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;
    use coracle_client::line::duplex;
    use futures::future::pending as never;
    use tokio::io::AsyncReadExt;

    use super::*;

    struct Ended(i64);

    #[async_trait]
    impl Process for Ended {
        async fn resize(&self, _: TerminalSize) -> Result<(), Error> {
            Ok(())
        }

        async fn exit_code(&self) -> Result<Option<i64>, Error> {
            Ok(Some(self.0))
        }
    }

    fn ended(code: i64, pieces: &[(bool, &'static str)]) -> Session {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|(stderr, data)| Ok(Output { stderr: *stderr, data: Bytes::from_static(data.as_bytes()) }))
            .collect();
        let (input, _) = tokio::io::duplex(64);
        Session {
            output: futures::stream::iter(pieces).boxed(),
            input: Box::pin(input),
            process: Arc::new(Ended(code)),
        }
    }

    async fn relayed(session: Session) -> (Vec<(u8, String)>, Result<(), String>) {
        let (ours, mut theirs) = duplex();
        let end = relay(session, ours, Beginning::default(), End::ExitCode, never())
            .await
            .map_err(|status| status.reason);
        let mut data = Vec::new();
        while let Some(Frame::Data { channel, data: bytes }) = theirs.receive.recv().await {
            data.push((channel, String::from_utf8(bytes.to_vec()).unwrap()));
        }
        (data, end)
    }

    #[tokio::test(start_paused = true)]
    async fn output_goes_to_its_channels_and_the_exit_code_ends_it() {
        let both = [(false, "out"), (true, "err")];
        let data = vec![(STDOUT, "out".to_owned()), (STDERR, "err".to_owned())];
        assert_eq!(relayed(ended(0, &both)).await, (data.clone(), Ok(())));
        assert_eq!(relayed(ended(3, &both)).await, (data, Err("NonZeroExitCode".into())));
        let failed = "OCI runtime exec failed: no such file";
        assert_eq!(relayed(ended(127, &[(false, failed)])).await, (vec![], Err("InternalError".into())));
        let printed = vec![(STDOUT, failed.to_owned())];
        assert_eq!(
            relayed(ended(0, &[(false, failed)])).await,
            (printed, Ok(())),
            "a command may print that"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_terminal_has_its_size_before_the_command_runs() {
        let frame =
            |channel, data: &'static str| Frame::Data { channel, data: Bytes::from_static(data.as_bytes()) };
        let size = Some(TerminalSize { width: 100, height: 40 });
        let typed = || Some(frame(STDIN, "typed"));
        let cases = [
            (
                "it comes",
                Some(frame(RESIZE, r#"{"Width":100,"Height":40}"#)),
                Beginning { size, early: None },
            ),
            ("keys come first", typed(), Beginning { size: None, early: typed() }),
            ("it cannot be read", Some(frame(RESIZE, "wide")), Beginning::default()),
            ("nothing comes", None, Beginning::default()),
        ];
        for (case, sent, expected) in cases {
            let (mut ours, theirs) = duplex();
            let begin = tokio::spawn(async move { first_size(&mut ours.receive).await });
            // As long as a client takes to hear that the session has begun, and to answer.
            tokio::time::sleep(FIRST_SIZE / 3).await;
            assert!(!begin.is_finished(), "{case}: the command must not run yet");
            if let Some(frame) = sent {
                theirs.send.send(frame).await.unwrap();
            }
            assert_eq!(begin.await.unwrap(), expected, "case: {case}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn input_arrives_and_ends_while_output_goes_on() {
        let (input, mut inside) = tokio::io::duplex(4);
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let output = futures::stream::once(async move {
            let _ = finished.await;
            Ok(Output { stderr: false, data: Bytes::from_static(b"done") })
        });
        let session = Session { output: output.boxed(), input: Box::pin(input), process: Arc::new(Ended(0)) };
        let (ours, mut theirs) = duplex();
        let relaying = tokio::spawn(relay(session, ours, Beginning::default(), End::ExitCode, never()));
        let data = |channel, data: &'static [u8]| Frame::Data { channel, data: Bytes::from_static(data) };
        theirs.send.send(data(STDIN, b"longer than four")).await.unwrap();
        theirs.send.send(data(CLOSE, &[STDIN])).await.unwrap();
        let mut read = String::new();
        inside.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "longer than four");
        finish.send(()).unwrap();
        assert_eq!(theirs.receive.recv().await, Some(data(STDOUT, b"done")));
        relaying.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_with_its_container_though_its_streams_do_not() {
        let code = |status: Status| status.details.map(|details| details.causes[0].message.clone());
        for (end, expected) in [(End::ExitCode, Err(Some("137".to_owned()))), (End::Silent, Ok(()))] {
            let (input, _inside) = tokio::io::duplex(4);
            let output = futures::stream::pending().boxed();
            let session = Session { output, input: Box::pin(input), process: Arc::new(Ended(137)) };
            let (ours, _theirs) = duplex();
            let container = tokio::time::sleep(Duration::from_secs(1));
            let relaying = relay(session, ours, Beginning::default(), end, container);
            let relaying = tokio::time::timeout(Duration::from_secs(5), relaying);
            assert_eq!(relaying.await.expect("it ends").map_err(code), expected, "{end:?}");
        }
    }
}

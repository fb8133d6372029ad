//! What people want of containers while they run: logs, exec, attach. Requests come down the line that the agent keeps to
//! the API server; each becomes a session of its own.
//!
//! ```text
//!  Open --> attend --> find the container --Accepted--> pump <-> runtime --> Closed
//! ```

mod ending;
mod find;
mod logs;
mod process;
mod session;
mod shares;

use std::sync::Arc;
use std::time::Duration;

use coracle_api::Status;
use coracle_client::line::{Duplex, Frame, Lines, Open, What};
use futures::StreamExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::runtime::Streams;
use ending::end_of;
use process::Beginning;
use session::accept;
use shares::{MOST, Slots};

/// Keeps the line and serves its sessions until `stop`.
pub async fn serve(ctx: Arc<Context>, lines: Arc<dyn Lines>, stop: CancellationToken) {
    let mut backoff = ctx.backoff(Duration::from_millis(100), Duration::from_secs(5));
    let slots = Arc::new(Slots::default());
    let mut sessions = JoinSet::new();
    let keep = async {
        loop {
            match lines.connect(&ctx.config.node).await {
                Ok(mut orders) => {
                    while let Some(order) = orders.next().await {
                        let Ok(order) = order else { break };
                        backoff.reset();
                        while sessions.try_join_next().is_some() {}
                        // Those above the limit are refused, which takes a moment: that queue has a bound, too.
                        while sessions.len() >= 2 * MOST {
                            sessions.join_next().await;
                        }
                        sessions.spawn(attend(ctx.clone(), lines.clone(), slots.clone(), order));
                    }
                }
                Err(error) => tracing::debug!(node = ctx.config.node, %error, "no line to the API server"),
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    };
    stop.run_until_cancelled(keep).await;
}

async fn attend(ctx: Arc<Context>, lines: Arc<dyn Lines>, slots: Arc<Slots>, order: Open) {
    let session = match lines.attend(&ctx.config.node, order.session).await {
        Ok(session) => session,
        Err(error) => {
            tracing::debug!(session = order.session, %error, "nobody waits for the session any more");
            return;
        }
    };
    let send = session.send.clone();
    let end = match slots.take(&order.user, &ctx.config.node) {
        Ok(_slot) => run(&ctx, order, session).await,
        Err(refusal) => Err(refusal),
    };
    // An error says that the other end is gone.
    let _ = send.send(Frame::Closed(end.err().map(Box::new))).await;
}

/// Serves one session. An error is sent to the other end.
async fn run(ctx: &Context, order: Open, mut session: Duplex) -> Result<(), Status> {
    match &order.what {
        Some(What::Logs(wanted)) => logs::send(ctx, &order, wanted, session).await,
        Some(What::Exec(exec)) => {
            let id = find::running(ctx, &order).await?;
            let streams =
                Streams { stdin: exec.stdin, stdout: exec.stdout, stderr: exec.stderr, tty: exec.tty };
            accept(&session).await;
            let beginning = match exec.tty {
                true => process::first_size(&mut session.receive).await,
                false => Beginning::default(),
            };
            let process = ctx.runtime().open_exec(&id, &exec.command, streams, beginning.size).await;
            let process = process.map_err(|error| process::cannot_run(&error))?;
            process::relay(process, session, beginning, process::End::ExitCode, end_of(ctx, &id)).await
        }
        Some(What::Attach(attach)) => {
            let id = find::running(ctx, &order).await?;
            let streams = Streams {
                stdin: attach.stdin,
                stdout: attach.stdout,
                stderr: attach.stderr,
                tty: attach.tty,
            };
            accept(&session).await;
            if !(attach.stdin || attach.stdout || attach.stderr) {
                // Whoever attaches without streams only asks whether the container runs.
                return Ok(());
            }
            let process = ctx.runtime().attach(&id, streams).await.map_err(Status::internal)?;
            let beginning = Beginning::default();
            process::relay(process, session, beginning, process::End::Silent, end_of(ctx, &id)).await
        }
        Some(What::PortForward(_)) | None => {
            Err(Status::failure(501, "NotImplemented", "the agent does not know this kind of session"))
        }
    }
}

//! The first frame that an agent sends on a session.

use coracle_client::line::{Duplex, Frame};

/// Says to the other end that the container is there. If that end is gone, the session notices by itself.
pub(super) async fn accept(session: &Duplex) {
    let _ = session.send.send(Frame::Accepted).await;
}

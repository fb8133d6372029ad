//! What is known of a client before it asks anything: whom the certificate of its connection names.

use std::sync::Arc;

use super::bodies::Room;
use crate::connections::Slot;
use crate::identity::Identity;

/// What a connection's client certificate says. TLS has verified that it is of this cluster's authority.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// The client showed none.
    #[default]
    Unknown,
    /// It names this user.
    Known(Arc<Identity>),
    /// It does not say for sure whom it names. Such a client is refused: it must not pass for one without a certificate.
    Unreadable,
}

/// Put among the extensions of every request of the connection.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Who is at the other end.
    pub peer: Peer,
    /// Its slot among the server's connections.
    pub slot: Option<Slot>,
    /// How much of bodies it may have under way.
    pub room: Room,
}

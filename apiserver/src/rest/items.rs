//! A list as a body: put together from bytes that are encoded already, a piece at a time, while it is sent. However large the list
//! is, and however slow its reader, only one piece of it is ever a copy.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use coracle_api::KindRef;
use hyper::body::{Body, Frame, SizeHint};
use serde_json::Value;

use crate::entry::Entry;
use crate::entry::encoding::without_kind;

/// How long a piece is, but for its last item: a few of TLS's records, and little enough for a cache.
const PIECE: usize = 64 << 10;
/// What stands after the last item.
const END: &[u8] = b"]}\n";

/// The body of a list, which is put together while it is sent.
pub struct Items {
    /// What is to be sent before the next item; empty once it is sent.
    head: Vec<u8>,
    entries: std::vec::IntoIter<Entry>,
    first: bool,
    /// How many bytes are still to be sent.
    left: u64,
}

impl Items {
    /// The list of a kind.
    pub fn new(kind: &KindRef, metadata: &Value, entries: Vec<Entry>) -> Items {
        let head = format!(
            "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
            kind.kind(),
            kind.api_version()
        );
        let items: usize = entries.iter().map(|entry| without_kind(&entry.object).len() + 1).sum();
        let commas = entries.len().saturating_sub(1);
        let left = (head.len() + items + commas + END.len()) as u64;
        Items { head: head.into(), entries: entries.into_iter(), first: true, left }
    }

    /// The next piece; none once all is sent.
    fn piece(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut piece = std::mem::take(&mut self.head);
        piece.reserve(usize::try_from(self.left).unwrap_or(PIECE).min(PIECE + PIECE / 8));
        while piece.len() < PIECE {
            let Some(entry) = self.entries.next() else {
                piece.extend_from_slice(END);
                break;
            };
            piece.extend_from_slice(if self.first { b"{" } else { b",{" });
            piece.extend_from_slice(without_kind(&entry.object));
            self.first = false;
        }
        self.left -= piece.len() as u64;
        Some(piece.into())
    }

    /// All that is left in one, without the newline at the end.
    pub fn whole(mut self) -> Vec<u8> {
        let mut all = Vec::with_capacity(usize::try_from(self.left).unwrap_or_default());
        while let Some(piece) = self.piece() {
            all.extend_from_slice(&piece);
        }
        all.truncate(all.len().saturating_sub(1));
        all
    }
}

impl Body for Items {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use coracle_api::{Key, Object, Revision, kinds};
    use serde_json::json;

    use super::*;
    use crate::entry::encoding::encode;

    fn entry(name: &str, text: &str) -> Entry {
        let object = json!({"metadata": {"name": name}, "data": {"text": text}});
        let json = encode(&kinds::CONFIG_MAP, &object).at(Revision(7));
        let key = Key::new(&kinds::CONFIG_MAP, "default", name);
        Entry::new(Arc::new(Object { key, revision: Revision(7), json }))
    }

    #[test]
    fn its_pieces_are_the_list_and_as_long_as_was_said() {
        for (count, length) in [(0, 0), (1, 10), (3, PIECE / 2), (2, 3 * PIECE), (500, 1000)] {
            let entries: Vec<Entry> =
                (0..count).map(|n| entry(&n.to_string(), &"x".repeat(length))).collect();
            let items = || {
                Items::new(
                    &KindRef::from(&kinds::CONFIG_MAP),
                    &json!({"resourceVersion": "9"}),
                    entries.clone(),
                )
            };
            let (mut sent, mut body) = (Vec::new(), items());
            let promised = body.size_hint().exact();
            while let Some(piece) = body.piece() {
                assert!(piece.len() < 2 * PIECE + 3 * length, "{count}, {length}: {}", piece.len());
                sent.extend_from_slice(&piece);
                assert_eq!(body.size_hint().exact().map(|left| left + sent.len() as u64), promised);
            }
            assert!(body.is_end_stream());
            assert_eq!(sent.pop(), Some(b'\n'));
            assert_eq!(sent, items().whole());
            let list: Value = serde_json::from_slice(&sent).unwrap();
            assert_eq!(list["items"].as_array().map(Vec::len), Some(count));
            assert_eq!(
                (&list["kind"], &list["metadata"]["resourceVersion"]),
                (&"ConfigMapList".into(), &"9".into())
            );
        }
    }
}

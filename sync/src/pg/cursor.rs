//! Cursors: how far an edge has pulled. Sealed before they leave, because the transaction numbers in them would tell
//! one tenant how much the others write.
//!
//! A cursor is a snapshot of the central database: everything that it did not see is still to come. In the middle of
//! a window of several pages it also holds the snapshot that the window ends with and the last row sent.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::merge::fence::{Mark, is_of_another_history};
use crate::wire::base64url;

/// The length of a cursor's nonce in bytes.
pub const NONCE_BYTES: usize = NONCE_LEN;

/// The form that cursors are written in. A cursor of another one does not open.
const FORM: u8 = 1;

/// A cursor that this hub did not give to this edge, or that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the cursor was not given to this edge by this hub")]
pub struct CursorError;

/// How far an edge has pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// What the edge has seen; none before the first window is complete.
    pub start: Option<Snapshot>,
    /// The window that is being read, if it has several pages.
    pub window: Option<Window>,
    /// The checkpoint that was committed after all of it was read: who presents it knows no later past of the centre.
    pub checkpoint: Checkpoint,
    /// The incarnation of the centre that it belongs to; nil for the one before any.
    pub incarnation: Uuid,
}

/// A moment of the centre's history, with a word that a database which lost it cannot know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Whose it is.
    pub replica: u32,
    /// How many the replica has been given.
    pub count: u64,
    /// Random.
    pub nonce: Uuid,
    /// Every transaction that drew one of the centre's numbers up to this one had ended.
    pub seq: u64,
}

impl Checkpoint {
    /// Whether whoever shows this under the id `replica` was not there when that id was compared, at the checkpoint `compared`
    /// (0 is never): it is a copy of who was, or has been restored since.
    pub fn is_before(&self, replica: u32, compared: u64) -> bool {
        let count = if self.replica == replica { self.count } else { 0 };
        count < compared
    }

    /// Whether it was given under the id `replica` in a history that is no more, when the last one given was `given`.
    pub fn is_foreign(&self, replica: u32, given: &Self) -> bool {
        let mark = |point: &Self| Mark { count: point.count, word: point.nonce.to_string() };
        self.replica == replica && is_of_another_history(&mark(self), &mark(given))
    }
}

/// A window in the middle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// What the edge will have seen at its end.
    pub end: Snapshot,
    /// The last row sent: the table's number and the row's id.
    pub after: (i16, Uuid),
}

/// Stands for the conflicts in a page's order, behind every table.
pub const CONFLICTS: i16 = i16::MAX;

impl Cursor {
    /// Where an edge goes on that was compared with the centre from `now` on. A comparison is of living rows only, so it goes
    /// on from its own cursor `since` if that is of the same incarnation: deaths and conflicts of the meantime are still to
    /// come. Without one, all conflicts are. Nor does a first window bring deaths: who is in the middle of one has rows that died
    /// since it began, and goes on from its end.
    pub fn after_comparison(since: Option<Self>, now: Snapshot, incarnation: Uuid) -> Self {
        match since.filter(|since| since.incarnation == incarnation) {
            Some(since) if since.start.is_some() => since,
            first => {
                let end = first.and_then(|first| first.window).map_or(now, |window| window.end);
                let window = Some(Window { end, after: (CONFLICTS - 1, Uuid::max()) });
                Self { window, incarnation, ..Self::default() }
            }
        }
    }
}

/// A snapshot of the database: which transactions it sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// It sees none from this one on.
    pub xmax: i64,
    /// Nor these, which were in progress.
    pub xip: Vec<i64>,
}

/// Whether who has come as far as `start` lacks something that `acknowledged` sees: somebody has gone back who had come that
/// far, and deaths may be forgotten of which he was told then.
pub fn is_behind(start: Option<&Snapshot>, acknowledged: Option<&Snapshot>) -> bool {
    let Some(acknowledged) = acknowledged else { return false };
    let Some(start) = start else { return true };
    let seen = |xid: &i64| *xid < acknowledged.xmax && !acknowledged.xip.contains(xid);
    start.xmax < acknowledged.xmax || start.xip.iter().any(seen)
}

impl Snapshot {
    /// Reads PostgreSQL's own form, `xmin:xmax:xip,...`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':').skip(1);
        let xmax = parts.next()?.parse().ok()?;
        let running = parts.next()?.split(',').filter(|xid| !xid.is_empty());
        Some(Self { xmax, xip: running.map(|xid| xid.parse().ok()).collect::<Option<_>>()? })
    }

    /// PostgreSQL's own form.
    pub fn text(&self) -> String {
        let running: Vec<String> = self.xip.iter().map(i64::to_string).collect();
        let xmin = self.xip.iter().copied().min().unwrap_or(self.xmax);
        format!("{xmin}:{}:{}", self.xmax, running.join(","))
    }
}

/// Seals a cursor for an edge.
pub fn seal(cursor: &Cursor, key: &[u8], edge: Uuid, nonce: [u8; NONCE_BYTES]) -> Result<String, CursorError> {
    let mut sealed = postcard::to_allocvec(cursor).map_err(|_| CursorError)?;
    let aad = aad(edge);
    let tag = opener(key)?
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
        .map_err(|_| CursorError)?;
    sealed.extend_from_slice(tag.as_ref());
    let mut whole = nonce.to_vec();
    whole.append(&mut sealed);
    Ok(base64url::encode(whole))
}

/// Opens a cursor that an edge sent.
pub fn open(text: &str, key: &[u8], edge: Uuid) -> Result<Cursor, CursorError> {
    let mut whole = base64url::decode(text).ok_or(CursorError)?;
    if whole.len() < NONCE_BYTES {
        return Err(CursorError);
    }
    let (nonce, sealed) = whole.split_at_mut(NONCE_BYTES);
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CursorError)?;
    let opened = opener(key)?.open_in_place(nonce, aad(edge), sealed).map_err(|_| CursorError)?;
    postcard::from_bytes(opened).map_err(|_| CursorError)
}

/// What a sealed cursor is bound to: the form it is written in, and its edge. An idle edge sends and receives little else, so
/// the form is postcard's, without names.
fn aad(edge: Uuid) -> Aad<[u8; 17]> {
    let mut bound = [FORM; 17];
    bound[1..].copy_from_slice(edge.as_bytes());
    Aad::from(bound)
}

fn opener(key: &[u8]) -> Result<LessSafeKey, CursorError> {
    UnboundKey::new(&CHACHA20_POLY1305, key).map(LessSafeKey::new).map_err(|_| CursorError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_cursor_opens_for_its_edge_only() {
        let window = Window { end: Snapshot { xmax: 9, xip: vec![5, 7] }, after: (8, Uuid::from_u128(3)) };
        let start = Some(Snapshot { xmax: 4, xip: vec![] });
        let cursor = Cursor { start, window: Some(window), ..Cursor::default() };
        let (key, edge) = ([7; 32], Uuid::from_u128(1));
        let sealed = seal(&cursor, &key, edge, [1; NONCE_BYTES]).unwrap();
        assert_eq!(open(&sealed, &key, edge), Ok(cursor));
        assert_eq!(open(&sealed, &key, Uuid::from_u128(2)), Err(CursorError));
        assert_eq!(open(&sealed, &[8; 32], edge), Err(CursorError));
        assert_eq!(open("", &key, edge), Err(CursorError));
        assert_eq!(open("AAAA!", &key, edge), Err(CursorError));
    }

    #[test]
    fn after_a_comparison_an_edge_goes_on_where_it_was_or_reads_every_conflict() {
        let now = Snapshot { xmax: 9, xip: vec![] };
        let (here, there) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let since = Cursor { start: Some(Snapshot { xmax: 4, xip: vec![2] }), incarnation: here, ..Cursor::default() };
        assert_eq!(Cursor::after_comparison(Some(since.clone()), now.clone(), here), since);
        for other in [None, Some(Cursor { incarnation: here, ..Cursor::default() }), Some(since)] {
            let next = Cursor::after_comparison(other, now.clone(), there);
            assert_eq!((next.start, next.incarnation), (None, there));
            assert_eq!(next.window.unwrap().after.0, CONFLICTS - 1, "rows are left out");
        }
    }

    #[test]
    fn who_is_compared_in_its_first_window_goes_on_from_the_end_of_that_one() {
        let (begun, now) = (Snapshot { xmax: 7, xip: vec![4] }, Snapshot { xmax: 9, xip: vec![] });
        let (here, there) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let window = Some(Window { end: begun.clone(), after: (2, Uuid::from_u128(3)) });
        let since = Cursor { window, incarnation: here, ..Cursor::default() };
        for (incarnation, end) in [(here, begun), (there, now.clone())] {
            let next = Cursor::after_comparison(Some(since.clone()), now.clone(), incarnation);
            let after = (CONFLICTS - 1, Uuid::max());
            assert_eq!((next.start, next.window), (None, Some(Window { end, after })), "deaths since then are to come");
        }
    }

    #[test]
    fn a_checkpoint_is_before_a_comparison_if_it_is_an_older_one_of_that_id_or_of_another_id() {
        let shown = |replica, count| Checkpoint { replica, count, ..Checkpoint::default() };
        for (checkpoint, compared, expected) in [
            (shown(7, 3), 4, true),
            (shown(7, 4), 4, false),
            (shown(7, 5), 4, false),
            (shown(6, 9), 4, true),
            (shown(6, 9), 0, false),
            (shown(7, 0), 0, false),
        ] {
            assert_eq!(checkpoint.is_before(7, compared), expected, "{checkpoint:?} before {compared}");
        }
    }

    #[test]
    fn a_snapshot_is_behind_another_that_sees_what_it_does_not() {
        let snapshot = |xmax, xip: &[i64]| Snapshot { xmax, xip: xip.to_vec() };
        let acknowledged = snapshot(9, &[5]);
        let cases = [
            (None, true),
            (Some(snapshot(8, &[5])), true),
            (Some(snapshot(9, &[5, 7])), true),
            (Some(snapshot(12, &[7])), true),
            (Some(snapshot(9, &[5])), false),
            (Some(snapshot(12, &[5, 10])), false),
            (Some(snapshot(12, &[5, 9])), false),
            (Some(snapshot(12, &[])), false),
        ];
        for (start, expected) in cases {
            assert_eq!(is_behind(start.as_ref(), Some(&acknowledged)), expected, "{start:?}");
            assert!(!is_behind(start.as_ref(), None));
        }
    }

    #[test]
    fn a_snapshot_is_read_as_postgresql_prints_it() {
        assert_eq!(Snapshot::parse("5:9:5,7"), Some(Snapshot { xmax: 9, xip: vec![5, 7] }));
        assert_eq!(Snapshot::parse("9:9:").map(|snapshot| snapshot.text()).as_deref(), Some("9:9:"));
        assert_eq!(Snapshot::parse("nonsense"), None);
    }
}

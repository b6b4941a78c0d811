//! The whole map of an image in bounded memory: what is where, and that nothing is claimed twice.

use crate::error::{FormatError, Region};
use crate::header::Header;
use crate::item::{Item, Kind, Piece};
use crate::table::{Table, join};

/// Everything an image says, collected from its tables, capped.
#[derive(Debug)]
pub struct Map {
    items: Vec<Item>,
    zeros: Vec<(u64, u64)>,
    limit: usize,
}

/// A checked map.
#[derive(Debug)]
pub struct Mapped {
    /// Sorted by host offset.
    pub items: Vec<Item>,
    /// Guest ranges (offset, bytes) that read as zeros, in the order they were added.
    pub zeros: Vec<(u64, u64)>,
}

impl Map {
    /// An empty map of at most `limit` pieces (24 bytes each).
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { items: Vec::new(), zeros: Vec::new(), limit }
    }

    /// Adds a piece; neighbours in file and disk order are merged.
    ///
    /// # Errors
    /// [`FormatError::TooManyPieces`].
    pub fn push(&mut self, piece: Piece) -> Result<(), FormatError> {
        match piece {
            Piece::Stored(item) => {
                let last = self.items.last_mut();
                let joined = last.as_ref().and_then(|last| join(Piece::Stored(**last), piece));
                match (last, joined) {
                    (Some(last), Some(Piece::Stored(joined))) => *last = joined,
                    _ => self.items.push(item),
                }
            }
            Piece::Zero { guest_offset, bytes } => match self.zeros.last_mut() {
                Some((start, len)) if start.saturating_add(*len) == guest_offset => {
                    *len = len.saturating_add(bytes);
                }
                _ => self.zeros.push((guest_offset, bytes)),
            },
        }
        if self.items.len().saturating_add(self.zeros.len()) > self.limit {
            return Err(FormatError::TooManyPieces { limit: self.limit });
        }
        Ok(())
    }

    /// Sorts by host offset and checks that no byte of the file has two roles. Compressed clusters may share the sector
    /// in which one ends and the next begins.
    ///
    /// # Errors
    /// [`FormatError::Overlap`], [`FormatError::SharedL2Table`].
    pub fn finish(mut self, header: &Header, tables: &[Table]) -> Result<Mapped, FormatError> {
        self.items.sort_unstable();
        let mut metadata = vec![
            Claim { start: 0, end: header.cluster_bytes, region: Region::Header },
            Claim {
                start: header.l1_offset,
                end: header.l1_offset.saturating_add(header.l1_bytes()),
                region: Region::L1Table,
            },
            Claim {
                start: header.refcount_table_offset,
                end: header.refcount_table_offset.saturating_add(header.refcount_table_bytes),
                region: Region::RefcountTable,
            },
        ];
        metadata.extend(tables.iter().map(|table| Claim {
            start: table.host_offset,
            end: table.host_offset.saturating_add(header.cluster_bytes),
            region: Region::L2Table,
        }));
        metadata.retain(|claim| claim.start < claim.end);
        metadata.sort_unstable_by_key(|claim| claim.start);
        check_disjoint(&self.items, &metadata)?;
        Ok(Mapped { items: self.items, zeros: self.zeros })
    }
}

/// A range of the file and its role.
#[derive(Debug, Clone, Copy)]
struct Claim {
    start: u64,
    end: u64,
    region: Region,
}

impl From<&Item> for Claim {
    fn from(item: &Item) -> Self {
        let region = match item.kind() {
            Kind::Plain => Region::Data,
            Kind::Compressed => Region::CompressedData,
        };
        Self { start: item.host_offset(), end: item.host_end(), region }
    }
}

/// One sweep over both sorted lists.
fn check_disjoint(items: &[Item], metadata: &[Claim]) -> Result<(), FormatError> {
    let mut items = items.iter().map(Claim::from).peekable();
    let mut metadata = metadata.iter().copied().peekable();
    let mut furthest: Option<Claim> = None;
    loop {
        let take_item = match (items.peek(), metadata.peek()) {
            (Some(item), Some(claim)) => item.start < claim.start,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let Some(next) = (if take_item { items.next() } else { metadata.next() }) else {
            return Ok(());
        };
        if let Some(previous) = furthest {
            check_pair(previous, next)?;
        }
        if furthest.is_none_or(|previous| previous.end < next.end) {
            furthest = Some(next);
        }
    }
}

fn check_pair(previous: Claim, next: Claim) -> Result<(), FormatError> {
    let both_compressed =
        previous.region == Region::CompressedData && next.region == Region::CompressedData;
    let allowed = if both_compressed { 511 } else { 0 };
    if next.start.saturating_add(allowed) >= previous.end {
        return Ok(());
    }
    if previous.region == Region::L2Table
        && next.region == Region::L2Table
        && previous.start == next.start
    {
        return Err(FormatError::SharedL2Table { offset: next.start });
    }
    Err(FormatError::Overlap {
        first: previous.region,
        first_offset: previous.start,
        second: next.region,
        second_offset: next.start,
    })
}

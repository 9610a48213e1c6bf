//! Rows that all hold one value, for `create`.

use numpack::RowSource;

/// Bytes handed to the engine at once.
const PIECE: usize = 1 << 20;

/// `len` bytes that repeat `element`.
pub(crate) struct Repeated {
    piece: Vec<u8>,
    len: u64,
}

impl Repeated {
    pub(crate) fn new(element: &[u8], len: u64) -> Self {
        let elements = (PIECE / element.len().max(1)).max(1);
        Self {
            piece: element.repeat(elements),
            len,
        }
    }
}

impl RowSource for Repeated {
    fn write_to(
        &mut self,
        sink: &mut dyn FnMut(&[u8]) -> numpack::Result<()>,
    ) -> numpack::Result<()> {
        let mut left = self.len;
        while left > 0 {
            let take = usize::try_from(left).map_or(self.piece.len(), |n| n.min(self.piece.len()));
            let Some(piece) = self.piece.get(..take) else {
                break;
            };
            sink(piece)?;
            left -= take as u64;
        }
        Ok(())
    }
}

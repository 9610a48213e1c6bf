//! NumPy's one byte a bool into Arrow's one bit a bool.

use crate::processor::nonzero_bits;

/// Packs booleans, eight to a byte, the first one in the lowest bit.
///
/// Any byte but 0 counts as true. Unused bits of the last byte are 0.
///
/// ```
/// let mut bits = [0xff; 2];
/// numpack_kernels::pack_bools(&[1, 0, 2, 0, 0, 0, 0, 255, 1], &mut bits);
/// assert_eq!(bits, [0b1000_0101, 0b1]);
/// ```
///
/// # Panics
/// If `out` is not `src.len()` divided by eight, rounded up.
#[inline]
pub fn pack_bools(src: &[u8], out: &mut [u8]) {
    assert!(
        out.len() == src.len().div_ceil(8),
        "{} bools do not pack into {} bytes",
        src.len(),
        out.len()
    );
    let (eights, _) = src.as_chunks::<8>();
    let (pairs, _) = eights.as_chunks::<2>();
    let (whole, last) = out.split_at_mut(pairs.len() * 2);
    for (to, [low, high]) in whole.as_chunks_mut().0.iter_mut().zip(pairs) {
        *to = nonzero_bits(*low, *high);
    }
    let rest = &src[pairs.len() * 16..];
    let mut pair = [[0; 8]; 2];
    pair.as_flattened_mut()[..rest.len()].copy_from_slice(rest);
    let [low, high] = pair;
    last.copy_from_slice(&nonzero_bits(low, high)[..last.len()]);
}

#[cfg(test)]
mod tests {
    use super::pack_bools;

    #[test]
    fn every_byte_in_every_place() {
        for place in 0..24 {
            for byte in 0..=255 {
                let mut src = [0; 24];
                src[place] = byte;
                let mut out = [0; 3];
                pack_bools(&src, &mut out);
                let mut expected = [0; 3];
                expected[place / 8] = u8::from(byte != 0) << (place % 8);
                assert_eq!(out, expected, "byte {byte} in place {place}");
            }
        }
    }

    #[test]
    fn nothing_packs_into_nothing() {
        pack_bools(&[], &mut []);
    }

    #[test]
    #[should_panic(expected = "9 bools do not pack into 1 bytes")]
    fn output_of_another_length() {
        pack_bools(&[1; 9], &mut [0; 1]);
    }
}

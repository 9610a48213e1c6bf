//! The instructions of x86-64 that no safe Rust compiles to, each with its portable stand-in.
#![expect(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the processor that was found"
)]
#![cfg_attr(
    all(target_arch = "x86_64", not(miri)),
    expect(
        unsafe_code,
        reason = "prefetch takes a raw pointer, the others name their processor"
    )
)]

#[cfg(all(target_arch = "x86_64", not(miri)))]
use core::arch::x86_64::{
    _MM_HINT_T0, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_prefetch, _mm_set_epi64x,
    _mm_setzero_si128, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_storeu_ps,
};

/// Bytes in a cache line of every x86-64 processor.
const LINE: usize = 64;

/// Asks for the cache lines of `bytes[at..at + len]`; a range outside `bytes` is harmless.
#[inline]
pub(crate) fn prefetch(bytes: &[u8], at: usize, len: usize) {
    let mut offset = 0;
    while offset < len {
        prefetch_line(bytes, at.wrapping_add(offset));
        offset += LINE;
    }
    // A row rarely starts on a line, so its last byte may lie in one line more.
    prefetch_line(bytes, at.wrapping_add(len).wrapping_sub(1));
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn prefetch_line(bytes: &[u8], at: usize) {
    let address = bytes.as_ptr().wrapping_add(at).cast();
    // SAFETY: prefetching reads nothing the program can see and never faults, whatever the
    // address; the address itself is made with `wrapping_add`, which is defined out of bounds too.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
}

/// Stable Rust has no prefetch for other processors; the loops are right without it.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
fn prefetch_line(_bytes: &[u8], _at: usize) {}

/// Bit `i` says whether byte `i` is not 0.
///
/// Packing 1 MB took 29 us with this instruction and 114 us with the arithmetic below, on two
/// cores of an AMD EPYC; LLVM finds the instruction in no loop over bytes (690 us).
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
pub(crate) fn nonzero_bits(low: [u8; 8], high: [u8; 8]) -> [u8; 2] {
    let (low, high) = (i64::from_le_bytes(low), i64::from_le_bytes(high));
    // SAFETY: these are SSE2 instructions, which every x86-64 processor has; they touch registers
    // only.
    let zeros = unsafe {
        _mm_movemask_epi8(_mm_cmpeq_epi8(
            _mm_set_epi64x(high, low),
            _mm_setzero_si128(),
        ))
    };
    let [first, second, ..] = (!zeros).to_le_bytes();
    [first, second]
}

/// Bit `i` says whether byte `i` is not 0.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
pub(crate) fn nonzero_bits(low: [u8; 8], high: [u8; 8]) -> [u8; 2] {
    [nonzero_bits_portable(low), nonzero_bits_portable(high)]
}

/// Half of [`nonzero_bits`] in plain arithmetic.
#[cfg(any(test, not(all(target_arch = "x86_64", not(miri)))))]
fn nonzero_bits_portable(bytes: [u8; 8]) -> u8 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let bytes = u64::from_le_bytes(bytes);
    // The top bit of a byte's sum is set unless its low seven bits are all 0; no carry leaves it.
    let ones = ((((bytes & LOW) + LOW) | bytes) >> 7) & 0x0101_0101_0101_0101;
    // Bit 8 * i times 2^(56 - 7 * i) lands on bit 56 + i; no two of the 64 products meet.
    let [.., bits] = ones.wrapping_mul(0x0102_0408_1020_4080).to_le_bytes();
    bits
}

/// How `a * b + sum` is computed, number by number.
pub(crate) trait Fused {
    fn f32(a: f32, b: f32, sum: f32) -> f32;
    fn f64(a: f64, b: f64, sum: f64) -> f64;

    /// As `f32`, of eight numbers at once.
    #[inline(always)]
    fn f32_lanes(a: [f32; 8], b: [f32; 8], sum: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| Self::f32(a[i], b[i], sum[i]))
    }

    /// As `f64`, of four numbers at once.
    #[inline(always)]
    fn f64_lanes(a: [f64; 4], b: [f64; 4], sum: [f64; 4]) -> [f64; 4] {
        std::array::from_fn(|i| Self::f64(a[i], b[i], sum[i]))
    }
}

/// With one rounding, in one instruction. Without that instruction it is a call of a slow function,
/// so that on x86-64 only [`run_v3`] may name this type.
#[derive(Debug)]
pub(crate) struct Together;

/// With two roundings, in two instructions.
#[derive(Debug)]
pub(crate) struct Apart;

impl Fused for Together {
    #[inline(always)]
    fn f32(a: f32, b: f32, sum: f32) -> f32 {
        a.mul_add(b, sum)
    }

    #[inline(always)]
    fn f64(a: f64, b: f64, sum: f64) -> f64 {
        a.mul_add(b, sum)
    }

    /// LLVM makes a mess of a sum of products in lanes: it shuffles them into lanes of its own, at 28 ns
    /// where 128 numbers take 10.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[inline(always)]
    fn f32_lanes(a: [f32; 8], b: [f32; 8], sum: [f32; 8]) -> [f32; 8] {
        // SAFETY: the caller is `run_v3`, which has the features; eight numbers are what is read.
        unsafe { fused_lanes_v3(&a, &b, sum) }
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn fused_lanes_v3(a: &[f32; 8], b: &[f32; 8], mut sum: [f32; 8]) -> [f32; 8] {
    // SAFETY: eight numbers are the 32 bytes that are read; the loads need no alignment.
    let (a, b, old) = unsafe {
        (
            _mm256_loadu_ps(a.as_ptr()),
            _mm256_loadu_ps(b.as_ptr()),
            _mm256_loadu_ps(sum.as_ptr()),
        )
    };
    // SAFETY: eight numbers are the 32 bytes that are written; the store needs no alignment.
    unsafe { _mm256_storeu_ps(sum.as_mut_ptr(), _mm256_fmadd_ps(a, b, old)) };
    sum
}

impl Fused for Apart {
    #[inline(always)]
    fn f32(a: f32, b: f32, sum: f32) -> f32 {
        sum + a * b
    }

    #[inline(always)]
    fn f64(a: f64, b: f64, sum: f64) -> f64 {
        sum + a * b
    }
}

/// What every processor of this kind computes well.
#[cfg(target_arch = "aarch64")]
pub(crate) type Everywhere = Together;
#[cfg(not(target_arch = "aarch64"))]
pub(crate) type Everywhere = Apart;

/// A loop that is compiled once for every processor and once for x86-64-v3.
pub(crate) trait Work {
    /// Does it. To be inlined, or it is compiled for every processor only.
    fn run<F: Fused>(self);
}

/// Does `work` with the best instructions that this processor has.
///
/// Without it, LLVM has registers of four numbers and no fused multiplication.
pub(crate) fn run(work: impl Work) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if is_v3() {
        // SAFETY: `is_v3` has seen the features that the function asks for; it is safe otherwise.
        return unsafe { run_v3(work) };
    }
    work.run::<Everywhere>();
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,fma,f16c")]
fn run_v3(work: impl Work) {
    work.run::<Together>();
}

/// Whether the processor has x86-64-v3, as nearly all since 2015.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn is_v3() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// Half precision numbers, given as their bits, as single precision ones.
pub(crate) fn widen_halves(halves: &[u16], out: &mut [f32]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if is_v3() {
        // SAFETY: `is_v3` has seen the features that the function asks for; it is safe otherwise.
        return unsafe { widen_halves_v3(halves, out) };
    }
    widen_halves_portable(halves, out);
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen_halves_v3(halves: &[u16], out: &mut [f32]) {
    let ((halves, halves_rest), (out, out_rest)) =
        (halves.as_chunks::<8>(), out.as_chunks_mut::<8>());
    for (halves, out) in halves.iter().zip(out) {
        // SAFETY: eight halves are the 16 bytes that are read; the load needs no alignment.
        let halves = unsafe { _mm_loadu_si128(halves.as_ptr().cast()) };
        // SAFETY: eight singles are the 32 bytes that are written; the store needs no alignment.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(halves)) };
    }
    widen_halves_portable(halves_rest, out_rest);
}

fn widen_halves_portable(halves: &[u16], out: &mut [f32]) {
    /// Moves the exponent from 15 around zero to 127 around zero: exact also for subnormal halves.
    const SCALE: f32 = f32::from_bits((254 - 15) << 23);
    for (&half, out) in halves.iter().zip(out) {
        let half = u32::from(half);
        let (sign, magnitude) = ((half & 0x8000) << 16, half & 0x7fff);
        let value = (f32::from_bits(magnitude << 13) * SCALE).to_bits();
        // Infinity and NaN keep the largest exponent; a NaN becomes a quiet one.
        let quiet = if magnitude > 0x7c00 { 1 << 22 } else { 0 };
        let special = if magnitude >= 0x7c00 {
            0x7f80_0000 | quiet
        } else {
            0
        };
        *out = f32::from_bits(sign | value | special);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        nonzero_bits, nonzero_bits_portable, prefetch, widen_halves, widen_halves_portable,
    };

    /// The definition of a half precision number.
    fn half(bits: u16) -> f64 {
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023) / 1024.0);
        let magnitude = match exponent {
            0 => fraction * 2f64.powi(-14),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
        };
        if bits >> 15 == 1 {
            -magnitude
        } else {
            magnitude
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "halves are exact")]
    fn every_half() {
        let halves: Vec<u16> = (0..=u16::MAX).collect();
        for widen in [widen_halves, widen_halves_portable] {
            // One number less on the left: the loop over eight ends early.
            for halves in [&halves[..], &halves[1..]] {
                let mut out = vec![0.0; halves.len()];
                widen(halves, &mut out);
                for (&bits, value) in halves.iter().zip(out) {
                    let (expected, value) = (half(bits), f64::from(value));
                    let same = value == expected && value.is_sign_positive() == (bits >> 15 == 0);
                    assert!(
                        same || value.is_nan() && expected.is_nan(),
                        "{bits:x}: {value}"
                    );
                }
            }
        }
    }

    #[test]
    fn any_address_is_harmless() {
        for bytes in [&[][..], &[1, 2, 3]] {
            for at in [0, 1, usize::MAX / 2, usize::MAX] {
                for len in [0, 1, 200] {
                    prefetch(bytes, at, len);
                }
            }
        }
    }

    #[test]
    fn every_byte_in_every_place_with_and_without_neighbours() {
        for around in [0, 1, 255] {
            for place in 0..8 {
                for byte in 0..=255 {
                    let mut block = [around; 8];
                    block[place] = byte;
                    let expected = (0..8)
                        .filter(|&i| block[i] != 0)
                        .fold(0, |bits, i| bits | 1 << i);
                    assert_eq!(nonzero_bits_portable(block), expected, "{block:?}");
                    assert_eq!(nonzero_bits(block, [0; 8]), [expected, 0], "{block:?}");
                    assert_eq!(nonzero_bits([0; 8], block), [0, expected], "{block:?}");
                }
            }
        }
    }
}

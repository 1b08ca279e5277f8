//! The Internet checksum (RFC 1071). Sums are of words in the byte order of this machine, which the checksum does not
//! mind as long as it is stored the same way.

/// Adds the words of `bytes` to an unfolded sum. Only the last piece of a message may have an odd length.
pub fn add(sum: u64, bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= WORTH_A_CALL && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function was compiled for.
        return unsafe { add_wide(sum, bytes) };
    }
    add_words(sum, bytes)
}

/// Headers are summed where they are.
#[cfg(target_arch = "x86_64")]
const WORTH_A_CALL: usize = 128;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_wide(sum: u64, bytes: &[u8]) -> u64 {
    add_words(sum, bytes)
}

#[inline(always)]
fn add_words(sum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let total = sum + words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total + u64::from(u32::from_ne_bytes(last))
}

/// The part of the sum that TCP and UDP take from the IP header. `addresses` is source and destination, `length` the
/// transport header's and its payload's.
pub fn add_pseudo_header(addresses: &[u8], protocol: u8, length: u16) -> u64 {
    let [high, low] = length.to_be_bytes();
    add(add(0, addresses), &[0, protocol, high, low])
}

/// As two bytes to store where a partial checksum is expected.
pub fn folded(mut sum: u64) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (sum as u16).to_ne_bytes()
}

/// As two bytes to store in a finished packet.
pub fn finished(sum: u64) -> [u8; 2] {
    folded(sum).map(|byte| !byte)
}

/// Whether what was summed, its checksum field included, is intact.
pub fn is_intact(sum: u64) -> bool {
    folded(sum) == [0xff, 0xff]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_and_one_of_a_real_ip_header() {
        assert_eq!(folded(add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), [0xdd, 0xf2]);
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
            0x00, 0xc7,
        ];
        assert_eq!(finished(add(0, &header)), [0xb8, 0x61]);
    }

    #[test]
    fn an_odd_last_byte_counts_as_the_high_half_of_a_word() {
        assert_eq!(folded(add(0, &[0x12, 0x34, 0x56])), [0x68, 0x34]);
        assert_eq!(folded(add(0, &[0x12, 0x34, 0x56, 0x78, 0x9a])), folded(add(0, &[0x12, 0x34, 0x56, 0x78, 0x9a, 0])));
    }

    #[test]
    fn long_pieces_are_summed_as_word_by_word() {
        let bytes: Vec<u8> = (0..3000_u32).map(|n| (n * n >> 3) as u8).collect();
        for length in (0..300).chain(2990..=3000) {
            let words = bytes[..length]
                .chunks(2)
                .map(|pair| u64::from(u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
            assert_eq!(folded(add(0, &bytes[..length])), folded(words.sum()));
        }
    }
}

//! The checksums of GPT and ext4.

const fn table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut value, mut bit) = (byte as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ polynomial } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

fn update(table: &[u32; 256], start: u32, bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(start, |crc, byte| crc >> 8 ^ table[usize::from(crc as u8 ^ byte)])
}

/// CRC-32 as in GPT (and zip).
pub fn crc32(bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = table(0xEDB8_8320);
    !update(&TABLE, !0, bytes)
}

/// CRC-32C, continued from `start` and not inverted at the end, as ext4 chains it.
pub fn crc32c(start: u32, bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = table(0x82F6_3B78);
    update(&TABLE, start, bytes)
}

/// CRC-16 (ARC), continued from `start`, as in ext4's group descriptors without `metadata_csum`.
pub fn crc16(start: u16, bytes: &[u8]) -> u16 {
    static TABLE: [u32; 256] = table(0xA001);
    update(&TABLE, u32::from(start), bytes) as u16
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_values_of_the_catalogue() {
        // The values for "123456789" in the catalogue of parametrised CRC algorithms.
        let digits = b"123456789";
        assert_eq!(super::crc32(digits), 0xCBF4_3926);
        assert_eq!(!super::crc32c(!0, digits), 0xE306_9283);
        assert_eq!(super::crc16(0, digits), 0xBB3D);
    }
}

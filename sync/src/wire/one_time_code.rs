//! Codes that a person reads off one screen and types into another: 80 random bits, good once.
//!
//! The alphabet is Crockford's base 32, without letters that look like digits; what looks like one is taken for it.

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Random bytes of a code.
pub const CODE_BYTES: usize = 10;

/// A code in groups of four letters.
pub fn code(random: [u8; CODE_BYTES]) -> String {
    let bits = random.iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    let letters = (0..16).map(|position| char::from(ALPHABET[(bits >> (75 - 5 * position)) as usize & 31]));
    grouped(letters.collect())
}

/// A code as it was issued, from one as somebody typed it.
pub fn normal(typed: &str) -> String {
    let fold = |letter: char| match letter.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        letter => letter,
    };
    grouped(typed.chars().filter(char::is_ascii_alphanumeric).map(fold).collect())
}

fn grouped(letters: Vec<char>) -> String {
    letters.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_survives_sloppy_typing() {
        let code = code([0xff, 0, 1, 2, 3, 4, 5, 6, 7, 0x20]);
        assert_eq!(code.len(), 19);
        assert_eq!(normal(&code), code);
        assert_eq!(normal(&code.replace('-', " ").to_lowercase().replace('0', "o").replace('1', "l")), code);
    }
}

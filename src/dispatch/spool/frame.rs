//! The bytes of a spool file: a head with the version, then frames of length, checksum and content.
//!
//! It knows no files and nothing of what the content says.

/// What a file begins with. The last byte is the version of the format.
pub(super) const HEAD: [u8; 8] = *b"smsspool";
const VERSION: u8 = 1;
/// Bytes of a head and of what stands before each content.
pub(super) const HEAD_BYTES: usize = HEAD.len() + 1;
const FRAME_HEAD_BYTES: usize = 8;
/// A longer frame was never written: its length is damage.
pub(super) const LONGEST: usize = 2 * 1024 * 1024;

/// The head of a new file.
pub(super) fn head() -> [u8; HEAD_BYTES] {
    let mut head = [VERSION; HEAD_BYTES];
    head[..HEAD.len()].copy_from_slice(&HEAD);
    head
}

/// Adds a frame to what is written next.
pub(super) fn push(bytes: &mut Vec<u8>, content: &[u8]) {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&checksum(length, content).to_le_bytes());
    bytes.extend_from_slice(content);
}

/// How many bytes a content takes.
pub(super) fn size(content: &[u8]) -> u64 {
    u64::try_from(FRAME_HEAD_BYTES + content.len()).unwrap_or(u64::MAX)
}

/// The length is covered too, so that zeros, which a crash may leave, are no frame.
fn checksum(length: [u8; 4], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(content);
    hasher.finalize()
}

/// What a file holds, up to the first thing that is no whole frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read<'a> {
    pub contents: Vec<&'a [u8]>,
    /// From where on it cannot be read; none when all of it can.
    pub damaged_from: Option<usize>,
}

/// Reads a file.
pub(super) fn read(bytes: &[u8]) -> Read<'_> {
    let mut contents = Vec::new();
    let Some(mut rest) = bytes.strip_prefix(&head()) else { return Read { contents, damaged_from: Some(0) } };
    while !rest.is_empty() {
        let Some((content, after)) = next(rest) else {
            return Read { contents, damaged_from: Some(bytes.len() - rest.len()) };
        };
        contents.push(content);
        rest = after;
    }
    Read { contents, damaged_from: None }
}

fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|count| *count <= LONGEST)?;
    let (content, rest) = rest.split_at_checked(count)?;
    (u32::from_le_bytes(*sum) == checksum(*length, content)).then_some((content, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(contents: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = head().to_vec();
        for content in contents {
            push(&mut bytes, content);
        }
        bytes
    }

    fn contents() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)
    }

    /// Where each frame begins, and the end.
    fn starts(contents: &[Vec<u8>]) -> Vec<usize> {
        let mut starts = vec![HEAD_BYTES];
        for content in contents {
            starts.push(starts[starts.len() - 1] + FRAME_HEAD_BYTES + content.len());
        }
        starts
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(contents in contents()) {
            let bytes = file(&contents);
            let read = read(&bytes);
            prop_assert_eq!(read.contents, contents);
            prop_assert_eq!(read.damaged_from, None);
        }

        #[test]
        fn a_torn_file_gives_the_whole_frames_before_the_tear(contents in contents(), cut in any::<prop::sample::Index>()) {
            let bytes = file(&contents);
            let cut = cut.index(bytes.len() + 1);
            let read = read(&bytes[..cut]);
            let starts = starts(&contents);
            let whole = starts.iter().filter(|start| **start <= cut).count().saturating_sub(1);
            prop_assert_eq!(&read.contents[..], &contents.iter().take(whole).map(Vec::as_slice).collect::<Vec<_>>()[..]);
            let clean = starts.contains(&cut);
            prop_assert_eq!(read.damaged_from.is_none(), clean);
        }

        #[test]
        fn a_changed_bit_spoils_its_frame_and_none_before_it(
            contents in contents(), place in any::<prop::sample::Index>(), bit in 0..8_u8,
        ) {
            let mut bytes = file(&contents);
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            let read = read(&bytes);
            let frame = starts(&contents).iter().filter(|start| **start <= place).count().saturating_sub(1);
            let frame = if place < HEAD_BYTES { 0 } else { frame };
            prop_assert_eq!(&read.contents[..], &contents[..frame].iter().map(Vec::as_slice).collect::<Vec<_>>()[..]);
            prop_assert!(read.damaged_from.is_some_and(|from| from <= place));
        }

        #[test]
        fn anything_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut headed = head().to_vec();
            headed.extend_from_slice(&bytes);
            for bytes in [bytes, headed] {
                let read = read(&bytes);
                prop_assert!(read.damaged_from.is_none_or(|from| from <= bytes.len()));
            }
        }
    }

    #[test]
    fn zeros_and_another_version_are_no_frames() {
        let mut zeros = file(&[b"content".to_vec()]);
        zeros.extend_from_slice(&[0; 64]);
        assert_eq!(read(&zeros).contents, [b"content"]);
        assert!(read(&zeros).damaged_from.is_some());
        let mut newer = file(&[b"content".to_vec()]);
        newer[HEAD.len()] = VERSION + 1;
        assert_eq!(read(&newer), Read { contents: Vec::new(), damaged_from: Some(0) });
    }
}

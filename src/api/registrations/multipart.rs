//! `multipart/form-data` (RFC 7578), whole in memory and bounded before it is read: few parts, each with its name.
//!
//! Written out because the one call that needs it takes one document. It decodes no transfer encodings; RFC 7578 forbids them.

use bytes::Bytes;

use crate::api::error::ApiError;

/// More parts than any form here has.
const MOST_PARTS: usize = 8;
/// Bytes of the headers of one part.
const LONGEST_HEAD: usize = 4096;
/// Characters of a boundary (RFC 2046).
const LONGEST_BOUNDARY: usize = 70;

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// The field's name.
    pub name: String,
    /// The file's name, where it is one.
    pub file_name: Option<String>,
    /// Its media type.
    pub media_type: Option<String>,
    /// The very bytes.
    pub content: Bytes,
}

/// The boundary that a content type names; none for any other type.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let (essence, parameters) = content_type.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters, "boundary")?;
    (1..=LONGEST_BOUNDARY).contains(&boundary.len()).then_some(boundary)
}

/// Takes a body apart.
pub(super) fn parts(body: &Bytes, boundary: &str) -> Result<Vec<Part>, ApiError> {
    let malformed = |what: &str| ApiError::Malformed(format!("The body is no multipart/form-data: {what}."));
    let opening = format!("--{boundary}");
    let between = format!("\r\n--{boundary}");
    // What stands before the first boundary means nothing.
    let start = if body.starts_with(opening.as_bytes()) {
        Some(opening.len())
    } else {
        find(body, between.as_bytes()).map(|at| at + between.len())
    };
    let mut at = start.ok_or_else(|| malformed("it does not hold its boundary"))?;
    let mut parts = Vec::new();
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if !rest[padding..].starts_with(b"\r\n") {
            return Err(malformed("a boundary is not followed by a line end"));
        }
        let from = at + padding;
        let to =
            find(&body[from..], between.as_bytes()).ok_or_else(|| malformed("its last boundary is missing"))? + from;
        if parts.len() == MOST_PARTS {
            return Err(malformed("it has too many parts"));
        }
        parts.push(part(body, from, to).ok_or_else(|| malformed("a part has no name"))?);
        at = to + between.len();
    }
}

/// The part between the line end at `from` and the boundary at `to`.
fn part(body: &Bytes, from: usize, to: usize) -> Option<Part> {
    let window = &body[from..to];
    let end = find(&window[..window.len().min(LONGEST_HEAD)], b"\r\n\r\n")?;
    let head = std::str::from_utf8(&window[..end]).ok()?;
    let header = |wanted: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let (kind, parameters) = header("content-disposition")?.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    Some(Part {
        name: parameter(parameters, "name")?,
        file_name: parameter(parameters, "filename"),
        media_type: header("content-type").map(str::to_owned),
        content: body.slice(from + end + 4..to),
    })
}

/// A parameter of a header, quoted or not. Browsers write a quote inside of one as `%22`, others as `\"`.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text.trim_start_matches([';', ' ', '\t']);
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, behind) = if let Some(quoted) = after.strip_prefix('"') {
            unquote(quoted)?
        } else {
            let (value, behind) = after.split_once(';').unwrap_or((after, ""));
            (value.trim().to_owned(), behind)
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = behind.trim_start_matches([';', ' ', '\t']);
    }
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value.replace("%22", "\""), &quoted[at + 1..])),
            '\\' if quoted[at + 1..].starts_with(['"', '\\']) => {
                value.extend(letters.next().map(|(_, escaped)| escaped));
            }
            other => value.push(other),
        }
    }
    None
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<Part>, ApiError> {
        parts(&Bytes::copy_from_slice(body.as_bytes()), "B")
    }

    #[test]
    fn parts_are_read_with_their_names_and_their_very_bytes() {
        let body = "preamble\r\n--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a;\\\"b%22.png\"\r\n\
                    Content-Type: image/png\r\n\r\nx\r\n--C\r\n\0--B\r\n--B  \r\ncontent-disposition: form-data; name=description\r\n\
                    \r\n\r\n--B--\r\nafter";
        let found = read(body).unwrap();
        let expected = Part {
            name: "file".into(),
            file_name: Some("a;\"b\".png".into()),
            media_type: Some("image/png".into()),
            content: Bytes::from_static(b"x\r\n--C\r\n\0--B"),
        };
        let empty = Part { name: "description".into(), file_name: None, media_type: None, content: Bytes::new() };
        assert_eq!(found, [expected, empty]);
    }

    #[test]
    fn a_form_without_parts_has_none() {
        assert_eq!(read("--B--").unwrap(), []);
    }

    #[test]
    fn what_is_broken_is_refused_and_nothing_panics() {
        let whole = "--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--B--\r\n";
        for end in 0..whole.len() - 4 {
            assert!(read(&whole[..end]).is_err(), "{:?}", &whole[..end]);
        }
        for body in
            ["", "--Bx\r\n", "--B\r\n\r\nx\r\n--B--", "--B\r\nContent-Disposition: attachment; name=a\r\n\r\n\r\n--B--"]
        {
            assert!(read(body).is_err(), "{body:?}");
        }
        let many = "--B\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n".repeat(MOST_PARTS + 1);
        assert!(read(&format!("{many}--B--")).is_err());
    }

    #[test]
    fn the_boundary_stands_in_the_content_type() {
        for (text, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data;charset=utf-8; Boundary=\"a b\"", Some("a b")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=abc", None),
            ("application/json", None),
        ] {
            assert_eq!(boundary(text).as_deref(), expected, "{text}");
        }
    }
}

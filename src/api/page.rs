//! Pages of a list: at most so many entries, and an opaque cursor that names the last of them.
//!
//! A cursor names the key of an entry and never a position, so a page is as fast far down as at the top.

use std::{fmt::Display, str::FromStr};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use utoipa::ToSchema;

/// Entries of a page when nothing is asked for.
pub const DEFAULT_LIMIT: u32 = 50;
/// Entries of the largest page.
pub const MAX_LIMIT: u32 = 200;

/// The form of a cursor's content; a new form gets a new one, and cursors of the old are refused.
const VERSION: &str = "1:";

/// One page of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Page<T> {
    /// The entries.
    pub data: Vec<T>,
    /// For the next page; null on the last one.
    #[schema(required = true, max_length = 512)]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A list that is never cut.
    pub fn whole(data: Vec<T>) -> Self {
        Self { data, next_cursor: None }
    }

    /// A page out of up to `limit + 1` entries: the one too many only says that there is a next page.
    pub fn cut<K: Display>(mut data: Vec<T>, limit: u32, key: impl FnOnce(&T) -> K) -> Self {
        let limit = limit as usize;
        let more = data.len() > limit;
        data.truncate(limit);
        let next_cursor = data.last().filter(|_| more).map(|last| Cursor::write(key(last)));
        Self { data, next_cursor }
    }
}

/// The text of a cursor.
#[derive(Debug)]
pub struct Cursor;

impl Cursor {
    /// The cursor that goes on after the entry with this key.
    pub fn write(key: impl Display) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(format!("{VERSION}{key}"))
    }

    /// The key in a cursor; none if it is not one of ours.
    pub fn read<K: FromStr>(text: &str) -> Option<K> {
        let content = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        content.strip_prefix(VERSION).filter(|key| !key.contains('\0'))?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::MessageId;

    #[test]
    fn a_cursor_leads_back_to_its_key() {
        let id = MessageId(uuid::Uuid::max());
        assert_eq!(Cursor::read::<MessageId>(&Cursor::write(id)), Some(id));
    }

    #[test]
    fn broken_cursors_and_those_of_another_list_are_refused() {
        let other_version = BASE64_URL_SAFE_NO_PAD.encode("2:msg_00000000000000000000000000");
        for text in ["", "%", "====", &Cursor::write("a_template"), &other_version] {
            assert_eq!(Cursor::read::<MessageId>(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_a_page_with_more_behind_it_has_a_cursor() {
        let page = Page::cut(vec![1, 2, 3], 2, |last| *last);
        assert_eq!((page.data, page.next_cursor), (vec![1, 2], Some(Cursor::write(2))));
        assert_eq!(Page::cut(vec![1, 2], 2, |last| *last).next_cursor, None);
        assert_eq!(Page::cut(Vec::<i32>::new(), 2, |last| *last).next_cursor, None);
    }
}

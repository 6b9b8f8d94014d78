//! Pages of a list that begins with what the configuration says and goes on with what is stored.

use crate::domain::{Cursor, Page};

/// Where a page goes on after what the configuration has to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is full; the next one begins here.
    Later(Cursor),
    /// With this page of what is stored.
    Stored(Page),
}

/// The items of `configured` that are on this page. Their places are below zero, where nothing that is
/// stored has its own; the last of them is at -1.
pub(super) fn first<T>(
    configured: impl ExactSizeIterator<Item = T>,
    page: &Page,
) -> (Vec<T>, Rest) {
    let many = configured.len();
    let begin = match page.after {
        Some(Cursor(place)) if place >= 0 => many,
        Some(Cursor(place)) => {
            let from_end = usize::try_from(place.unsigned_abs()).unwrap_or(usize::MAX);
            many.saturating_sub(from_end).saturating_add(1).min(many)
        }
        None => 0,
    };
    let items: Vec<T> = configured.skip(begin).take(page.limit).collect();
    let left = many - begin - items.len();
    let limit = page.limit - items.len();
    if left > 0 || (limit == 0 && !items.is_empty()) {
        let last = i64::try_from(left + 1).unwrap_or(i64::MAX);
        return (items, Rest::Later(Cursor(-last)));
    }
    let after = page.after.filter(|cursor| cursor.0 >= 0);
    (items, Rest::Stored(Page { after, limit }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(limit: usize) -> Rest {
        Rest::Stored(Page::first(limit))
    }

    #[test]
    fn each_item_is_on_one_page_and_the_stored_ones_follow() {
        let all = ["a", "b", "c"];
        let at = |place| Some(Cursor(place));
        for (after, limit, items, rest) in [
            (None, usize::MAX, &all[..], stored(usize::MAX - 3)),
            (None, 4, &all[..], stored(1)),
            (None, 2, &all[..2], Rest::Later(Cursor(-2))),
            (at(-2), 2, &all[2..], stored(1)),
            (None, 3, &all[..], Rest::Later(Cursor(-1))),
            (at(-1), 3, &[][..], stored(3)),
            (at(-3), 1, &all[1..2], Rest::Later(Cursor(-2))),
            // Fewer stand in the configuration than when the last page was asked for.
            (at(-9), 1, &all[1..2], Rest::Later(Cursor(-2))),
            (at(i64::MIN), 1, &all[1..2], Rest::Later(Cursor(-2))),
            (at(7), 2, &[][..], Rest::Stored(Page::after(Cursor(7), 2))),
        ] {
            let page = Page { after, limit };
            let told = first(all.iter().copied(), &page);
            assert_eq!(told, (items.to_vec(), rest), "{page:?}");
        }
        let none = first(std::iter::empty::<&str>(), &Page::first(5));
        assert_eq!(none, (vec![], stored(5)));
    }
}

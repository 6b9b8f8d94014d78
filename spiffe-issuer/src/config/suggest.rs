//! What somebody who mistyped a name may have meant.

/// The one of `known` that `name` is closest to, if any is close enough to be worth naming.
pub fn suggest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // A name this long is no typo, and need not cost anything.
    if name.len() > 64 {
        return None;
    }
    let length = name.chars().count();
    // Not every letter may be wrong.
    let enough = (length / 3).max(1).min(length.saturating_sub(1));
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= enough)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters have to be put in, left out, replaced or swapped with their neighbour to make
/// `b` of `a`; case does not count.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    let (a, b) = (letters(a), letters(b));
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, to) in b.iter().enumerate() {
            let replaced = above[j] + usize::from(from != to);
            row[j + 1] = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name_and_nonsense_finds_none() {
        let known = ["server_port", "server_address", "socket_path", "sds"];
        for (name, meant) in [
            ("server_prot", Some("server_port")),
            ("server_adress", Some("server_address")),
            ("serverPort", Some("server_port")),
            ("SOCKET_PATH", Some("socket_path")),
            ("sd", Some("sds")),
            ("trust", None),
            ("x", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(suggest(name, known), meant, "{name}");
        }
    }

    #[test]
    fn a_swap_is_one_mistake() {
        assert_eq!(distance("prot", "port"), 1);
        assert_eq!(distance("", "port"), 4);
        assert_eq!(distance("port", ""), 4);
    }
}

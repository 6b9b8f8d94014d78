//! What one source file names: paths with their lines, tests left aside.

use std::str::FromStr;

use proc_macro2::{Delimiter, LexError, TokenStream, TokenTree};

/// A path as it is resolved: crate or outside crate first.
pub(super) type Path = Vec<String>;

/// What a file names.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) references: Vec<Reference>,
    /// Names that `pub use` gives to things that live elsewhere.
    pub(super) exports: Vec<Export>,
    /// Lines where `include!` is called.
    pub(super) includes: Vec<usize>,
    /// Modules in files of their own that exist in tests only.
    pub(super) test_modules: Vec<Path>,
}

/// A path as it is written in a module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) module: Path,
    pub(super) line: usize,
    pub(super) written: Path,
}

/// `pub use written as name` in a module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Export {
    pub(super) module: Path,
    pub(super) name: String,
    pub(super) written: Path,
}

/// Reads a file that is the given module.
pub(super) fn scan(text: &str, module: &Path) -> Result<Scan, LexError> {
    let mut scan = Scan::default();
    scan.tokens(TokenStream::from_str(text)?, module);
    Ok(scan)
}

impl Scan {
    fn tokens(&mut self, stream: TokenStream, module: &Path) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += match token {
                TokenTree::Punct(_) if is_test_attribute(&tokens[at..]) => {
                    self.skip_item(&tokens[at..], module)
                }
                TokenTree::Ident(word) if word == "mod" => {
                    self.inline_module(&tokens[at..], module)
                }
                TokenTree::Ident(word) if word == "use" => self.use_item(&tokens, at, module),
                TokenTree::Ident(word) => {
                    let end = at + 1;
                    if word == "include" && is_punct(tokens.get(end), '!') {
                        self.includes.push(word.span().start().line);
                    }
                    self.expression_path(&tokens[at..], module)
                }
                TokenTree::Group(group) => {
                    self.tokens(group.stream(), module);
                    1
                }
                _ => 1,
            };
        }
    }

    /// Passes over an item that exists in tests only: up to its body or its semicolon.
    fn skip_item(&mut self, tokens: &[TokenTree], module: &Path) -> usize {
        let end = tokens.iter().position(|token| {
            is_punct(Some(token), ';')
                || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
        });
        let end = end.unwrap_or(tokens.len() - 1);
        if let [
            ..,
            TokenTree::Ident(word),
            TokenTree::Ident(name),
            TokenTree::Punct(_),
        ] = &tokens[..=end]
            && word == "mod"
        {
            self.test_modules.push(joined(module, &[name.to_string()]));
        }
        end + 1
    }

    /// `mod name { .. }`: what is in it is written there.
    fn inline_module(&mut self, tokens: &[TokenTree], module: &Path) -> usize {
        if let [_, TokenTree::Ident(name), TokenTree::Group(body), ..] = tokens {
            self.tokens(body.stream(), &joined(module, &[name.to_string()]));
            return 3;
        }
        1
    }

    fn use_item(&mut self, tokens: &[TokenTree], at: usize, module: &Path) -> usize {
        let rest = &tokens[at + 1..];
        let end = rest
            .iter()
            .position(|token| is_punct(Some(token), ';'))
            .unwrap_or(rest.len());
        // `pub` or `pub(crate)` stands before it.
        let public = match &tokens[..at] {
            [.., TokenTree::Ident(word)] => word == "pub",
            [.., TokenTree::Ident(word), TokenTree::Group(_)] => word == "pub",
            _ => false,
        };
        for leaf in use_tree(&rest[..end], &[]) {
            if public && let Some(name) = leaf.name {
                self.exports.push(Export {
                    module: module.clone(),
                    name,
                    written: leaf.path.clone(),
                });
            }
            self.references.push(Reference {
                module: module.clone(),
                line: leaf.line,
                written: leaf.path,
            });
        }
        end + 2
    }

    /// `a::b::c` anywhere else; a lone word names nothing outside.
    fn expression_path(&mut self, tokens: &[TokenTree], module: &Path) -> usize {
        let (written, length) = path(tokens);
        if written.len() > 1 {
            let line = tokens[0].span().start().line;
            self.references.push(Reference {
                module: module.clone(),
                line,
                written,
            });
        }
        length
    }
}

/// One thing that a `use` brings in.
struct Leaf {
    path: Path,
    line: usize,
    /// What it is called here; nothing for `*` and `_`.
    name: Option<String>,
}

/// Unfolds `a::{b, c::{d, e as f}, g::*}`.
fn use_tree(tokens: &[TokenTree], prefix: &[String]) -> Vec<Leaf> {
    let tokens = without_leading_colons(tokens);
    let Some(first) = tokens.first() else {
        return Vec::new();
    };
    let line = first.span().start().line;
    let (mut written, length) = path(tokens);
    let rest = without_leading_colons(&tokens[length..]);
    // `a::{self}` is `a`.
    if written.last().is_some_and(|last| last == "self")
        && !(prefix.is_empty() && written.len() == 1)
    {
        written.pop();
    }
    let path = joined(prefix, &written);
    match rest {
        [TokenTree::Group(group), ..] => {
            let branches: Vec<TokenTree> = group.stream().into_iter().collect();
            branches
                .split(|token| is_punct(Some(token), ','))
                .flat_map(|branch| use_tree(branch, &path))
                .collect()
        }
        [TokenTree::Ident(_), TokenTree::Ident(name), ..] => {
            vec![Leaf {
                path,
                line,
                name: (name != "_").then(|| name.to_string()),
            }]
        }
        [TokenTree::Punct(_), ..] => vec![Leaf {
            path,
            line,
            name: None,
        }],
        _ => vec![Leaf {
            line,
            name: path.last().cloned(),
            path,
        }],
    }
}

/// Reads `a::b::c` from the start, and tells how many tokens that took.
fn path(tokens: &[TokenTree]) -> (Path, usize) {
    let mut segments = Vec::new();
    let mut at = 0;
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        segments.push(word.to_string().trim_start_matches("r#").to_owned());
        let next_is_a_word = matches!(tokens.get(at + 3), Some(TokenTree::Ident(_)));
        if is_punct(tokens.get(at + 1), ':') && is_punct(tokens.get(at + 2), ':') && next_is_a_word
        {
            at += 3;
        } else {
            return (segments, at + 1);
        }
    }
    (segments, at)
}

/// `#[cfg(test)]` or `#[cfg(all(test, ..))]`.
fn is_test_attribute(tokens: &[TokenTree]) -> bool {
    let [TokenTree::Punct(hash), TokenTree::Group(attribute), ..] = tokens else {
        return false;
    };
    let text = attribute.stream().to_string().replace(' ', "");
    hash.as_char() == '#' && (text == "cfg(test)" || text.starts_with("cfg(all(test,"))
}

fn without_leading_colons(tokens: &[TokenTree]) -> &[TokenTree] {
    match tokens {
        [one, two, rest @ ..] if is_punct(Some(one), ':') && is_punct(Some(two), ':') => rest,
        _ => tokens,
    }
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

fn joined(prefix: &[String], rest: &[String]) -> Path {
    [prefix, rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths that a text names, one on each line with its line number.
    fn named(text: &str) -> Vec<String> {
        let scan = scan(text, &vec!["house".to_owned()]).unwrap();
        let mut lines: Vec<_> = scan
            .references
            .iter()
            .map(|found| {
                format!(
                    "{} {} {}",
                    found.line,
                    found.module.join("::"),
                    found.written.join("::")
                )
            })
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn finds_paths_wherever_they_are_written() {
        for (text, expected) in [
            ("use crate::a::B;", vec!["1 house crate::a::B"]),
            ("use ::tokio;", vec!["1 house tokio"]),
            ("pub(crate) use super::a::*;", vec!["1 house super::a"]),
            (
                "use crate::{a::{self, B as C},\n d};",
                vec![
                    "1 house crate::a",
                    "1 house crate::a::B",
                    "2 house crate::d",
                ],
            ),
            (
                "fn f() -> a::B<c::D> { e::f::<g::H>(i) }",
                vec![
                    "1 house a::B",
                    "1 house c::D",
                    "1 house e::f",
                    "1 house g::H",
                ],
            ),
            (
                "#[a::b]\nfn f() { c!(d::e); }",
                vec!["1 house a::b", "2 house d::e"],
            ),
            ("mod room { use super::x; }", vec!["1 house::room super::x"]),
        ] {
            assert_eq!(named(text), expected, "{text}");
        }
    }

    #[test]
    fn passes_over_tests_words_and_comments() {
        for text in [
            "#[cfg(test)]\nmod tests { use a::b; }",
            "#[cfg(all(test, unix))]\n#[allow(dead_code)]\nfn f() { a::b() }",
            "#[cfg(test)]\nuse a::b;",
            "/// See [`a::b`].\n// a::b\nfn f() { \"a::b\"; }",
        ] {
            assert_eq!(named(text), Vec::<String>::new(), "{text}");
        }
        assert_eq!(
            named("#[cfg(test)]\nuse a::{b, c};\nuse d::e;"),
            ["3 house d::e"]
        );
        assert_eq!(
            named("#[cfg(feature = \"x\")]\nuse d::e;"),
            ["2 house d::e"]
        );
    }

    #[test]
    fn remembers_exports_and_modules_of_tests_and_includes() {
        let text =
            "pub use a::{B, C as D};\nuse e::F;\n#[cfg(test)]\nmod tests;\ninclude!(\"x.rs\");";
        let scan = scan(text, &vec!["house".to_owned()]).unwrap();
        let exports: Vec<_> = scan
            .exports
            .iter()
            .map(|e| format!("{} {}", e.name, e.written.join("::")))
            .collect();
        assert_eq!(exports, ["B a::B", "D a::C"]);
        assert_eq!(scan.test_modules, [["house", "tests"]]);
        assert_eq!(scan.includes, [5]);
    }
}

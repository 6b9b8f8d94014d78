//! Choosing among the built-ins: which ones the configuration names, and making them.

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use spiffe_core::TrustDomain;
use spiffe_core::clock::Clock;

use crate::config::{
    self, Entry, Fields, Issues, Node, Place, boolean, list, path, placed, suggest, text,
};

/// A built-in: the name that the configuration calls it by, and how to make one.
pub struct BuiltIn<P: ?Sized> {
    /// As in `NodeAttestor "x509pop" {}`.
    pub name: &'static str,
    /// Reads the built-in's own settings, reports all that is wrong with them, and sets it up.
    pub make: fn(&Node, &Surroundings) -> Result<Arc<P>, Issues>,
}

/// What a plugin may ask of the house it stands in.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The trust domain of this server or agent.
    pub trust_domain: TrustDomain,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where the program keeps its files, if it keeps any.
    pub data_dir: Option<PathBuf>,
}

/// A built-in that the configuration names, with its settings.
pub struct Chosen<P: ?Sized> {
    name: &'static str,
    make: fn(&Node, &Surroundings) -> Result<Arc<P>, Issues>,
    settings: Settings,
}

#[derive(Debug, Clone)]
enum Settings {
    File(PathBuf, Place),
    Here(Node),
}

impl<P: ?Sized> Chosen<P> {
    /// The name of the built-in.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Makes the plugin. Settings in a file of their own are read now, so that calling this again
    /// follows what has changed in it.
    ///
    /// # Errors
    ///
    /// Every fault of its settings, or why it cannot work with them.
    pub fn make(&self, surroundings: &Surroundings) -> Result<Arc<P>, Issues> {
        match &self.settings {
            Settings::Here(node) => (self.make)(node, surroundings),
            Settings::File(file, place) => {
                let text = config::read_file(file).map_err(|error| {
                    let what = format!("failed to read plugin configuration: {error}");
                    Issues::one(place, what)
                })?;
                let node = config::parse(&file.display().to_string(), &text)?;
                (self.make)(&node, surroundings)
            }
        }
    }
}

impl<P: ?Sized> fmt::Debug for Chosen<P> {
    /// Without the settings, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chosen").field(&self.name).finish()
    }
}

/// The one plugin of this kind that has to be configured.
pub fn one<P: ?Sized>(
    fields: &mut Fields<'_>,
    kind: &'static str,
    built_ins: &[BuiltIn<P>],
) -> Option<Chosen<P>> {
    let named = named(fields, kind, built_ins);
    needed(fields, kind, built_ins, &named);
    only(fields, kind, named)
}

/// The plugin of this kind, if one is configured.
pub fn at_most_one<P: ?Sized>(
    fields: &mut Fields<'_>,
    kind: &'static str,
    built_ins: &[BuiltIn<P>],
) -> Option<Chosen<P>> {
    let named = named(fields, kind, built_ins);
    only(fields, kind, named)
}

/// The plugins of this kind, of which there has to be one.
pub fn at_least_one<P: ?Sized>(
    fields: &mut Fields<'_>,
    kind: &'static str,
    built_ins: &[BuiltIn<P>],
) -> Vec<Chosen<P>> {
    let named = named(fields, kind, built_ins);
    needed(fields, kind, built_ins, &named);
    named.into_iter().filter_map(|named| named.chosen).collect()
}

/// The plugins of this kind.
pub fn any_number<P: ?Sized>(
    fields: &mut Fields<'_>,
    kind: &'static str,
    built_ins: &[BuiltIn<P>],
) -> Vec<Chosen<P>> {
    let named = named(fields, kind, built_ins);
    named.into_iter().filter_map(|named| named.chosen).collect()
}

/// A plugin block that is switched on. What is wrong with one that is not `chosen` was said.
struct Named<P: ?Sized> {
    place: Place,
    chosen: Option<Chosen<P>>,
}

fn named<P: ?Sized>(
    fields: &mut Fields<'_>,
    kind: &'static str,
    built_ins: &[BuiltIn<P>],
) -> Vec<Named<P>> {
    fields.labelled(kind, |entry, issues| {
        let settings = entry
            .node
            .fields(issues, |block| Some(settings(block)))
            .unwrap_or(On::Faulty);
        if matches!(settings, On::Off) {
            return None;
        }
        let built_in = find(entry, kind, built_ins, issues);
        let chosen = match (built_in, settings) {
            (Some(built_in), On::With(settings)) => Some(Chosen {
                name: built_in.name,
                make: built_in.make,
                settings,
            }),
            _ => None,
        };
        let place = entry.place.clone();
        Some(Named { place, chosen })
    })
}

/// Whether a plugin block is switched on, and what it says.
enum On {
    Faulty,
    Off,
    With(Settings),
}

/// Reads the block around a plugin's settings.
fn settings(block: &mut Fields<'_>) -> On {
    let enabled = block.or("enabled", boolean, true);
    let external = block.has("plugin_cmd");
    block.optional("plugin_args", list(text));
    block.optional("plugin_checksum", text);
    let here = block.optional("plugin_data", config::any);
    let file = block.optional("plugin_data_file", placed(path));
    if !enabled {
        return On::Off;
    }
    if external {
        let what = "cannot be used: plugins in a process of their own are not supported";
        block.fault("plugin_cmd", what);
    }
    match (here, file) {
        (Some(_), Some((_, place))) => {
            block.fault_at(
                &place,
                "excludes `plugin_data`; only one of them can be set",
            );
            On::Faulty
        }
        (Some(node), None) => On::With(Settings::Here(node)),
        (None, Some((file, place))) => On::With(Settings::File(file, place)),
        (None, None) => On::With(Settings::Here(Node::empty(block.place("plugin_data")))),
    }
}

fn find<'b, P: ?Sized>(
    entry: &Entry,
    kind: &str,
    built_ins: &'b [BuiltIn<P>],
    issues: &mut Issues,
) -> Option<&'b BuiltIn<P>> {
    let found = built_ins.iter().find(|built_in| built_in.name == entry.key);
    if found.is_none() {
        let names = built_ins.iter().map(|built_in| built_in.name);
        let hint = match suggest(&entry.key, names) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known are {}", known(built_ins)),
        };
        issues.fault(&entry.place, format_args!("is not a known {kind}; {hint}"));
    }
    found
}

/// Complains if no plugin of this kind is switched on.
fn needed<P: ?Sized>(
    fields: &mut Fields<'_>,
    kind: &'static str,
    built_ins: &[BuiltIn<P>],
    named: &[Named<P>],
) {
    if named.is_empty() {
        let known = known(built_ins);
        fields.fault(kind, format_args!("is missing; known are {known}"));
    }
}

/// The only plugin of its kind; a second one is a fault.
fn only<P: ?Sized>(
    fields: &mut Fields<'_>,
    kind: &'static str,
    named: Vec<Named<P>>,
) -> Option<Chosen<P>> {
    for second in named.iter().skip(1) {
        fields.fault_at(
            &second.place,
            format_args!("cannot be used: there can only be one {kind}"),
        );
    }
    named.into_iter().next()?.chosen
}

fn known<P: ?Sized>(built_ins: &[BuiltIn<P>]) -> String {
    let names: Vec<_> = built_ins.iter().map(|b| format!("`{}`", b.name)).collect();
    names.join(", ")
}

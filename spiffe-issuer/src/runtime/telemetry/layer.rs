//! From events and the spans around them to lines.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use spiffe_core::clock::Clock;
use spiffe_core::with_causes;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::format::Line;
use super::output::Output;
use super::{Format, Level};

/// Writes a line for every event. The fields of the spans around an event are its own, as with
/// logrus a logger hands its fields down; the inner ones count more.
#[derive(Debug)]
pub(super) struct Lines {
    format: Format,
    source_location: bool,
    output: Arc<Output>,
    clock: Arc<dyn Clock>,
}

/// The fields of an event or a span.
#[derive(Debug, Clone, Default)]
struct Fields {
    message: String,
    values: BTreeMap<&'static str, Value>,
}

impl Lines {
    pub(super) fn new(
        format: Format,
        source_location: bool,
        output: Arc<Output>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            format,
            source_location,
            output,
            clock,
        }
    }
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        let spans = context.event_scope(event).map(Scope::from_root);
        for span in spans.into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.values.extend(outer.values.clone());
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        if self.source_location
            && let (Some(file), Some(line)) = (metadata.file(), metadata.line())
        {
            let location = format!("{file}:{line}");
            fields.values.insert("file", location.into());
            fields.values.insert("func", metadata.target().into());
        }
        let line = Line {
            time: self.clock.now(),
            level: Level::from(*metadata.level()),
            message: &fields.message,
            fields: &fields.values,
        };
        let text = match self.format {
            Format::Json => line.json(),
            Format::Text => line.text(),
        };
        self.output.write(text.as_bytes());
    }
}

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        self.values.insert(field.name(), value);
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.insert(field, value.into());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn StdError + 'static)) {
        self.insert(field, with_causes(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

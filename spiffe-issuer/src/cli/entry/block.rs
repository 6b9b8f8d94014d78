//! What is printed of an entry. Scripts take a line of one command and look for it in another, so
//! the lines look the same everywhere.

use std::fmt::Write as _;

use crate::cli::rpc;
use crate::cli::text;
use crate::proto::types;
use crate::runtime::telemetry::quoted;

/// The lines of an entry; those that say nothing are left out.
pub(super) fn block(entry: &types::Entry) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        // A `String` takes all that is written to it.
        let _ = writeln!(text, "{label:24}: {value}");
    };
    let id = if entry.id.is_empty() {
        "(none)"
    } else {
        &entry.id
    };
    line("Entry ID", id);
    line("SPIFFE ID", &text::id_text(entry.spiffe_id.as_ref()));
    line("Parent ID", &text::id_text(entry.parent_id.as_ref()));
    line("Revision", &entry.revision_number.to_string());
    if entry.downstream {
        line("Downstream", "true");
    }
    line("X509-SVID TTL", &lifetime(entry.x509_svid_ttl));
    line("JWT-SVID TTL", &lifetime(entry.jwt_svid_ttl));
    if entry.expires_at != 0 {
        line("Expiration time", &text::seconds(entry.expires_at));
    }
    for selector in &entry.selectors {
        line(
            "Selector",
            &format!("{}:{}", selector.r#type, selector.value),
        );
    }
    for trust_domain in &entry.federates_with {
        line("FederatesWith", trust_domain);
    }
    for name in &entry.dns_names {
        line("DNS name", name);
    }
    if entry.admin {
        line("Admin", "true");
    }
    if entry.store_svid {
        line("StoreSvid", "true");
    }
    if !entry.hint.is_empty() {
        line("Hint", &entry.hint);
    }
    let attributes = entry.additional_attributes.unwrap_or_default();
    if attributes.disable_x509_svid_prefetch {
        line("DisableX509SvidPrefetch", "true");
    }
    if attributes.jwt_svid_include_jti {
        line("JwtSvidIncludeJti", "true");
    }
    text.push('\n');
    text
}

fn lifetime(seconds: i32) -> String {
    match seconds {
        0 => "default".to_owned(),
        seconds => seconds.to_string(),
    }
}

/// What went wrong with one entry of several: `(code: AlreadyExists, msg: "...")`.
pub(super) fn failure(status: &types::Status) -> String {
    let code = rpc::name(status.code.into());
    format!("(code: {code}, msg: {})", quoted(&status.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(path: &str) -> Option<types::Spiffeid> {
        Some(types::Spiffeid {
            trust_domain: "td".to_owned(),
            path: path.to_owned(),
        })
    }

    #[test]
    fn an_entry_without_wishes_has_only_the_lines_that_all_have() {
        let entry = types::Entry {
            id: "e1".to_owned(),
            spiffe_id: id("/a"),
            parent_id: id("/b"),
            selectors: vec![types::Selector {
                r#type: "unix".to_owned(),
                value: "uid:0".to_owned(),
            }],
            additional_attributes: Some(types::entry::AdditionalAttributes::default()),
            ..Default::default()
        };
        let told = "\
Entry ID                : e1
SPIFFE ID               : spiffe://td/a
Parent ID               : spiffe://td/b
Revision                : 0
X509-SVID TTL           : default
JWT-SVID TTL            : default
Selector                : unix:uid:0

";
        assert_eq!(block(&entry), told);
    }

    #[test]
    fn every_wish_has_its_line() {
        let entry = types::Entry {
            x509_svid_ttl: 60,
            jwt_svid_ttl: 30,
            federates_with: vec!["other".to_owned()],
            admin: true,
            downstream: true,
            expires_at: 60,
            dns_names: vec!["a.test".to_owned()],
            revision_number: 2,
            store_svid: true,
            hint: "h".to_owned(),
            additional_attributes: Some(types::entry::AdditionalAttributes {
                disable_x509_svid_prefetch: true,
                jwt_svid_include_jti: true,
            }),
            ..Default::default()
        };
        let told = "\
Entry ID                : (none)
SPIFFE ID               : 
Parent ID               : 
Revision                : 2
Downstream              : true
X509-SVID TTL           : 60
JWT-SVID TTL            : 30
Expiration time         : 1970-01-01 00:01:00 +0000 UTC
FederatesWith           : other
DNS name                : a.test
Admin                   : true
StoreSvid               : true
Hint                    : h
DisableX509SvidPrefetch : true
JwtSvidIncludeJti       : true

";
        assert_eq!(block(&entry), told);
    }

    #[test]
    fn a_failure_names_its_code_as_go_does() {
        let status = types::Status {
            code: 6,
            message: "similar \"entry\"".to_owned(),
        };
        let told = "(code: AlreadyExists, msg: \"similar \\\"entry\\\"\")";
        assert_eq!(failure(&status), told);
    }
}

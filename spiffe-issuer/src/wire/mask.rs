//! Which fields of a message are asked for, or meant.

use std::mem;

use crate::proto::types;

/// A message of which a mask can choose fields. No mask means all of them; what a mask cannot name
/// is always kept.
pub trait Masked: Sized {
    /// The message that chooses.
    type Mask;

    /// Only the chosen fields of this message.
    #[must_use]
    fn masked(self, mask: Option<&Self::Mask>) -> Self;

    /// This message, with the chosen fields taken from another one.
    #[must_use]
    fn overlaid(self, from: Self, mask: Option<&Self::Mask>) -> Self;
}

/// Writes [`Masked`]. The mask is taken apart without `..`: a field that is forgotten here does not
/// compile.
macro_rules! masked {
    ($message:ident by $mask:ident { $($field:ident),* }) => {
        impl Masked for types::$message {
            type Mask = types::$mask;

            fn masked(mut self, mask: Option<&types::$mask>) -> Self {
                let Some(&types::$mask { $($field),* }) = mask else {
                    return self;
                };
                $(if !$field {
                    self.$field = Default::default();
                })*
                self
            }

            fn overlaid(mut self, mut from: Self, mask: Option<&types::$mask>) -> Self {
                let Some(&types::$mask { $($field),* }) = mask else {
                    $(self.$field = mem::take(&mut from.$field);)*
                    return self;
                };
                $(if $field {
                    self.$field = mem::take(&mut from.$field);
                })*
                self
            }
        }
    };
}

masked!(Entry by EntryMask {
    spiffe_id, parent_id, selectors, x509_svid_ttl, federates_with, admin, downstream, expires_at,
    dns_names, revision_number, store_svid, jwt_svid_ttl, hint, created_at, additional_attributes
});
masked!(Agent by AgentMask {
    attestation_type, x509svid_serial_number, x509svid_expires_at, selectors, banned, can_reattest,
    agent_version
});
masked!(Bundle by BundleMask {
    x509_authorities, jwt_authorities, refresh_hint, sequence_number, wit_authorities
});

masked!(FederationRelationship by FederationRelationshipMask {
    bundle_endpoint_url, bundle_endpoint_profile, trust_domain_bundle
});

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn entry() -> types::Entry {
        types::Entry {
            id: "id".into(),
            spiffe_id: Some(types::Spiffeid::default()),
            parent_id: Some(types::Spiffeid::default()),
            selectors: vec![types::Selector::default()],
            x509_svid_ttl: 1,
            federates_with: vec!["td".into()],
            admin: true,
            downstream: true,
            expires_at: 1,
            dns_names: vec!["a".into()],
            revision_number: 1,
            store_svid: true,
            jwt_svid_ttl: 1,
            hint: "h".into(),
            created_at: 1,
            additional_attributes: Some(types::entry::AdditionalAttributes::default()),
        }
    }

    /// The masks that choose exactly one field, with the number of that field.
    fn each_field() -> impl Iterator<Item = (u32, types::EntryMask)> {
        (2..=16).map(|number: u32| {
            let tag = prost_tag(number);
            let encoded = [&*tag, &[1]].concat();
            (number, types::EntryMask::decode(&*encoded).unwrap())
        })
    }

    fn prost_tag(number: u32) -> Vec<u8> {
        let mut tag = Vec::new();
        prost::encoding::encode_key(number, prost::encoding::WireType::Varint, &mut tag);
        tag
    }

    /// The numbers of the fields that a message sets.
    fn numbers(message: &types::Entry) -> Vec<u32> {
        let encoded = message.encode_to_vec();
        let (mut rest, mut numbers) = (&*encoded, Vec::new());
        while !rest.is_empty() {
            let (number, wire) = prost::encoding::decode_key(&mut rest).unwrap();
            let context = prost::encoding::DecodeContext::default();
            prost::encoding::skip_field(wire, number, &mut rest, context).unwrap();
            numbers.push(number);
        }
        numbers
    }

    #[test]
    fn a_mask_keeps_the_field_of_its_number_and_the_id() {
        for (number, mask) in each_field() {
            let kept = entry().masked(Some(&mask));
            assert_eq!(numbers(&kept), [1, number], "{mask:?}");
        }
        assert_eq!(entry().masked(None), entry());
    }

    #[test]
    fn a_mask_changes_the_field_of_its_number_and_no_other() {
        let old = types::Entry {
            id: "id".into(),
            ..Default::default()
        };
        for (number, mask) in each_field() {
            let changed = old.clone().overlaid(entry(), Some(&mask));
            assert_eq!(numbers(&changed), [1, number], "{mask:?}");
        }
        assert_eq!(old.overlaid(entry(), None), entry());
    }
}

//! Certificate requests (PKCS#10, RFC 2986): a public key, and whether the caller holds its private
//! half.
//!
//! Whatever else a request says is not read: names, lifetimes and uses come from the registration
//! entry. Only `MintX509SVID`, which administrators call, asks for the names as well.

use der::asn1::{AnyRef, BitStringRef, Ia5StringRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Reader, Sequence, SliceReader, Tag, TagNumber, Tagged};
use spiffe_core::TrustDomain;
use spiffe_core::x509::{PublicKey, X509Error};
use webpki::ALL_VERIFICATION_ALGS;

use super::CaError;
use super::asn1::{self, Extension, GeneralName, SUBJECT_ALT_NAME};
use crate::domain::{Fault, Kind};
use crate::keys::Signer;

/// The public key of a request. That the caller holds the private half is not shown: a certificate
/// for a key of someone else's is of no use to anybody.
///
/// # Errors
///
/// Where the bytes are no request.
pub fn public_key(request: &[u8]) -> Result<PublicKey, CsrError> {
    Request::read(request)?.public_key()
}

/// The public key of a request, whose private half the caller has shown to hold.
///
/// # Errors
///
/// Where the bytes are no request, or it is not signed with its own key.
pub fn proven_public_key(request: &[u8]) -> Result<PublicKey, CsrError> {
    let request = Request::read(request)?;
    let key = request.public_key()?;
    request.verify(&key)?;
    Ok(key)
}

/// What an administrator asks for.
#[derive(Debug, Clone)]
pub struct MintRequest {
    /// The key that is to be certified.
    pub public_key: PublicKey,
    /// The subject's name as DER, if it is not empty.
    pub subject: Option<Vec<u8>>,
    /// The URI names; not yet known to be SPIFFE IDs.
    pub uri_names: Vec<String>,
    /// The DNS names, in order; not yet judged.
    pub dns_names: Vec<String>,
}

impl MintRequest {
    /// Reads a request with the names in it. It has to be signed with its own key.
    ///
    /// # Errors
    ///
    /// Where the bytes are no request, or it is not signed with its own key.
    pub fn from_der(request: &[u8]) -> Result<Self, CsrError> {
        let request = Request::read(request)?;
        let public_key = request.public_key()?;
        request.verify(&public_key)?;
        let names = request.names()?;
        let subject = request.info.subject.to_der()?;
        Ok(Self {
            public_key,
            subject: (!request.info.subject.value().is_empty()).then_some(subject),
            uri_names: names.uri,
            dns_names: names.dns,
        })
    }
}

/// What a server asks of the authority above it.
#[derive(Debug, Clone)]
pub struct CaRequest {
    /// The key that is to be certified.
    pub public_key: PublicKey,
    /// The subject's name as DER.
    pub subject: Vec<u8>,
}

impl CaRequest {
    /// Reads a request for an authority of this trust domain. It has to be signed with its own key.
    ///
    /// # Errors
    ///
    /// Where the bytes are no request, it is not signed with its own key, or it names anybody but the
    /// trust domain.
    pub fn from_der(request: &[u8], trust_domain: &TrustDomain) -> Result<Self, CsrError> {
        let request = Request::read(request)?;
        let public_key = request.public_key()?;
        request.verify(&public_key)?;
        let named = request.names()?.uri;
        if named != [format!("spiffe://{trust_domain}")] {
            return Err(CsrError::NotTrustDomain(trust_domain.clone()));
        }
        Ok(Self {
            public_key,
            subject: request.info.subject.to_der()?,
        })
    }

    /// Writes a request for an authority of this trust domain, for the signer's key.
    pub(super) fn write(
        subject: &[u8],
        trust_domain: &TrustDomain,
        signer: &dyn Signer,
    ) -> Result<Vec<u8>, CaError> {
        let id = format!("spiffe://{trust_domain}");
        let names = vec![GeneralName::Uri(Ia5StringRef::new(&id)?)];
        let extensions = vec![Extension::new(SUBJECT_ALT_NAME, &names)?].to_der()?;
        let attribute = Attribute {
            oid: EXTENSION_REQUEST,
            values: AnyRef::new(Tag::Set, &extensions)?,
        };
        // A set of one needs no order.
        let attributes = attribute.to_der()?;
        let info = NewInfo {
            version: 0,
            subject: AnyRef::from_der(subject)?,
            public_key: AnyRef::from_der(signer.public_key().spki_der())?,
            attributes: AnyRef::new(ATTRIBUTES, &attributes)?,
        };
        let (info, scheme) = (info.to_der()?, signer.scheme());
        let signature = signer.sign(&info, scheme)?;
        Ok(asn1::certificate(&info, scheme, &signature)?)
    }
}

/// Why a certificate request is of no use. The texts are those of SPIRE's API.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// The bytes are no request.
    #[error("malformed CSR: {0}")]
    Der(#[from] der::Error),
    /// The key in it is none.
    #[error("malformed CSR: {0}")]
    Key(#[from] X509Error),
    /// Far longer than a request that anybody needs.
    #[error("malformed CSR: longer than {MAX_LEN} bytes")]
    Long,
    /// It names somebody else than the trust domain, or nobody.
    #[error("CSR must have exactly one URI SAN, the ID of trust domain {0}")]
    NotTrustDomain(TrustDomain),
    /// It is signed with another key than its own, or not at all.
    #[error("invalid CSR signature: it was not made with the key of the request")]
    Signature,
    /// It is signed, or its key is to be used, in a way that we do not know.
    #[error("invalid CSR signature: the key or the algorithm is of an unknown kind")]
    UnknownAlgorithm,
}

impl Fault for CsrError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// An RSA key of 8192 bits with a long subject is below this.
const MAX_LEN: usize = 16 * 1024;

struct Request<'a> {
    signed: &'a [u8],
    info: Info<'a>,
    algorithm: AnyRef<'a>,
    signature: BitStringRef<'a>,
}

/// What is signed of a request.
struct Info<'a> {
    subject: AnyRef<'a>,
    public_key: &'a [u8],
    attributes: AnyRef<'a>,
}

impl<'a> Request<'a> {
    fn read(request: &'a [u8]) -> Result<Self, CsrError> {
        if request.len() > MAX_LEN {
            return Err(CsrError::Long);
        }
        let mut reader = SliceReader::new(request)?;
        let request = reader.sequence(|fields| {
            let signed = fields.tlv_bytes()?;
            Ok::<_, der::Error>(Self {
                signed,
                info: Info::read(signed)?,
                algorithm: tagged(fields, Tag::Sequence)?,
                signature: fields.decode()?,
            })
        })?;
        reader.finish()?;
        Ok(request)
    }

    fn public_key(&self) -> Result<PublicKey, CsrError> {
        Ok(PublicKey::from_spki_der(self.info.public_key)?)
    }

    fn verify(&self, key: &PublicKey) -> Result<(), CsrError> {
        let signature = self.signature.as_bytes().ok_or(CsrError::Signature)?;
        let algorithm = ALL_VERIFICATION_ALGS.iter().find(|known| {
            known.public_key_alg_id().as_ref() == key.algorithm()
                && known.signature_alg_id().as_ref() == self.algorithm.value()
        });
        algorithm
            .ok_or(CsrError::UnknownAlgorithm)?
            .verify_signature(key.key_bits(), self.signed, signature)
            .map_err(|_| CsrError::Signature)
    }

    /// The alternative names among the extensions that the request asks for.
    fn names(&self) -> Result<Names, CsrError> {
        let mut names = Names::default();
        let mut attributes = SliceReader::new(self.info.attributes.value())?;
        while !attributes.is_finished() {
            let attribute: Attribute<'_> = attributes.decode()?;
            if attribute.oid != EXTENSION_REQUEST {
                continue;
            }
            let mut values = SliceReader::new(attribute.values.value())?;
            let extensions: Vec<RequestedExtension<'_>> = values.decode()?;
            for extension in extensions {
                if extension.oid == SUBJECT_ALT_NAME {
                    names.read(extension.value.as_bytes())?;
                }
            }
        }
        Ok(names)
    }
}

impl<'a> Info<'a> {
    fn read(signed: &'a [u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(signed)?;
        let info = reader.sequence(|fields| {
            // The version; there is but one.
            tagged(fields, Tag::Integer)?;
            Ok::<_, der::Error>(Self {
                subject: tagged(fields, Tag::Sequence)?,
                public_key: fields.tlv_bytes()?,
                attributes: tagged(fields, ATTRIBUTES)?,
            })
        })?;
        reader.finish()?;
        Ok(info)
    }
}

/// What we have signed of a request.
#[derive(Sequence)]
struct NewInfo<'a> {
    version: u8,
    subject: AnyRef<'a>,
    public_key: AnyRef<'a>,
    attributes: AnyRef<'a>,
}

#[derive(Sequence)]
struct Attribute<'a> {
    oid: ObjectIdentifier,
    values: AnyRef<'a>,
}

#[derive(Sequence)]
struct RequestedExtension<'a> {
    oid: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    critical: bool,
    value: &'a OctetStringRef,
}

#[derive(Default)]
struct Names {
    uri: Vec<String>,
    dns: Vec<String>,
}

impl Names {
    fn read(&mut self, extension: &[u8]) -> Result<(), CsrError> {
        let names: Vec<AnyRef<'_>> = Decode::from_der(extension)?;
        for name in names {
            let text = || Ok::<_, CsrError>(Ia5StringRef::new(name.value())?.as_str().to_owned());
            match name.tag() {
                URI => self.uri.push(text()?),
                DNS => self.dns.push(text()?),
                // Names of other sorts are not asked for.
                _ => {}
            }
        }
        Ok(())
    }
}

fn tagged<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<AnyRef<'a>> {
    let value: AnyRef<'a> = reader.decode()?;
    value.tag().assert_eq(tag)?;
    Ok(value)
}

/// `extensionRequest` (RFC 2985 section 5.4.2).
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");

const ATTRIBUTES: Tag = Tag::ContextSpecific {
    constructed: true,
    number: TagNumber(0),
};

const DNS: Tag = Tag::ContextSpecific {
    constructed: false,
    number: TagNumber(2),
};

const URI: Tag = Tag::ContextSpecific {
    constructed: false,
    number: TagNumber(6),
};

//! The generated code of `proto/greeter/`.

/// Messages, client and server of the greeter.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::use_self,
    reason = "generated"
)]
pub mod greeter {
    include!("proto/gen/greeter.v1.rs");

    /// The API described for reflection: an encoded `FileDescriptorSet`.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("proto/gen/greeter.bin");
}

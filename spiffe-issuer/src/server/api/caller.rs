//! Who is at the other end of a connection: decided once, when it was accepted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use spiffe_core::SpiffeId;
use spiffe_core::verify::Peer;
use spiffe_core::x509::{Certificate, X509Error};

use crate::domain::Serial;
use crate::server::nodes::AgentCaller;

/// Who calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller {
    transport: Transport,
    svid: Option<Arc<CallerSvid>>,
}

/// How the caller reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Over our own Unix socket; the file system let it in.
    Local(Process),
    /// Over TCP and TLS, from this address.
    Tcp(SocketAddr),
}

/// The process at the other end of a Unix socket, as far as the kernel tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Process {
    /// Its user.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
    /// Its number.
    pub pid: Option<i32>,
}

/// The SVID that a caller proved to hold.
#[derive(Debug)]
pub(super) struct CallerSvid {
    peer: Peer,
    serial: Serial,
}

impl Caller {
    /// A caller on our own socket.
    #[must_use]
    pub fn local(process: Process) -> Self {
        Self {
            transport: Transport::Local(process),
            svid: None,
        }
    }

    /// A caller that presented no certificate.
    #[must_use]
    pub fn anonymous(from: SocketAddr) -> Self {
        Self {
            transport: Transport::Tcp(from),
            svid: None,
        }
    }

    /// A caller that proved who it is.
    ///
    /// # Errors
    ///
    /// Where its leaf cannot be read, which no verified peer's is.
    pub fn proven(from: SocketAddr, peer: Peer) -> Result<Self, X509Error> {
        let leaf = peer.certificates().first().map_or(&[][..], |der| der);
        let serial = Serial::from_be_bytes(Certificate::from_der(leaf)?.serial());
        Ok(Self {
            transport: Transport::Tcp(from),
            svid: Some(Arc::new(CallerSvid { peer, serial })),
        })
    }

    /// Who it proved to be, if anyone.
    #[must_use]
    pub fn id(&self) -> Option<&SpiffeId> {
        self.svid().map(CallerSvid::id)
    }

    /// How it reached us.
    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether it is on our own socket.
    pub(super) fn is_local(&self) -> bool {
        matches!(self.transport, Transport::Local(_))
    }

    /// The SVID that it proved to hold, if any. It may have expired since.
    pub(super) fn svid(&self) -> Option<&CallerSvid> {
        self.svid.as_deref()
    }
}

impl CallerSvid {
    pub(super) fn id(&self) -> &SpiffeId {
        self.peer.id()
    }

    pub(super) fn serial(&self) -> &Serial {
        &self.serial
    }

    pub(super) fn not_after(&self) -> SystemTime {
        self.peer.not_after()
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }
}

/// What a caller was let in for, which can be one of several things that it is.
#[derive(Debug, Clone)]
pub(super) enum Role {
    Admin,
    Agent(Box<AgentCaller>),
    Anyone,
    Downstream,
    Local,
}

impl Role {
    /// What the audit log calls it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Agent(_) => "agent",
            Self::Anyone => "nobody",
            Self::Downstream => "downstream",
            Self::Local => "local",
        }
    }
}

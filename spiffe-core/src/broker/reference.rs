//! Which workload is meant (SPIFFE Broker API section 3.1).

use prost::Message;

use crate::proto::broker::{
    KubernetesObjectKey, KubernetesObjectReference, KubernetesObjectType, WorkloadPidReference,
    WorkloadReference,
};

/// A reference to exactly one workload.
///
/// A reference by process means that process for as long as it lives, and no other: whoever holds a
/// source for one drops it when the process ends, and does not wait to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    message: prost_types::Any,
    is_local: bool,
}

impl Reference {
    /// The process of this number, on the agent's machine: the workload's own one, where it has a
    /// sandbox.
    ///
    /// # Errors
    ///
    /// Where there is no such number: it is 0, or more than 2147483647.
    pub fn process(pid: u32) -> Result<Self, ReferenceError> {
        match i32::try_from(pid) {
            Ok(number) if number > 0 => Ok(Self {
                message: standard(
                    "WorkloadPIDReference",
                    &WorkloadPidReference { pid: number },
                ),
                is_local: true,
            }),
            _ => Err(ReferenceError::Process { pid }),
        }
    }

    /// A message of one's own that an agent is known to understand: its type as in
    /// `type.googleapis.com/package.Message`, and its encoded bytes. Others are refused by the agent.
    ///
    /// # Errors
    ///
    /// Where the type is not written so.
    pub fn custom(type_url: &str, message: Vec<u8>) -> Result<Self, ReferenceError> {
        match type_url.rsplit_once('/') {
            Some((host, name)) if !host.is_empty() && name.contains('.') => Ok(Self {
                message: prost_types::Any {
                    type_url: type_url.to_owned(),
                    value: message,
                },
                is_local: false,
            }),
            _ => Err(ReferenceError::TypeUrl),
        }
    }

    /// Whether it means something on the agent's machine only.
    pub(super) fn is_local(&self) -> bool {
        self.is_local
    }

    pub(super) fn to_wire(&self) -> WorkloadReference {
        WorkloadReference {
            reference: Some(self.message.clone()),
        }
    }
}

/// A Kubernetes object by which a workload is known: a pod, in most cases.
///
/// It is found by its place or by its UID. By both it is this one object, and not another of the same
/// name that came later.
#[derive(Debug, Clone, PartialEq)]
pub struct KubernetesObject(KubernetesObjectReference);

impl KubernetesObject {
    /// The object of this name in a namespace. `plural` is what its kind is called, as in `pods`, and
    /// `group` its API group: `core` for those of Kubernetes itself, as pods are.
    ///
    /// # Errors
    ///
    /// Where one of them is empty, or the group is a version.
    pub fn in_namespace(
        plural: &str,
        group: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Self, ReferenceError> {
        if namespace.is_empty() {
            return Err(ReferenceError::Namespace);
        }
        Self::keyed(plural, group, namespace, name)
    }

    /// The object of this name that stands in no namespace, as nodes do.
    ///
    /// # Errors
    ///
    /// As for [`in_namespace`](Self::in_namespace).
    pub fn in_cluster(plural: &str, group: &str, name: &str) -> Result<Self, ReferenceError> {
        Self::keyed(plural, group, "", name)
    }

    /// The object of this UID, wherever it stands.
    ///
    /// # Errors
    ///
    /// As for [`in_namespace`](Self::in_namespace), and where it is no UUID.
    pub fn by_uid(plural: &str, group: &str, uid: &str) -> Result<Self, ReferenceError> {
        Self::of(plural, group)?.and_uid(uid)
    }

    /// The same object, which must have this UID as well.
    ///
    /// # Errors
    ///
    /// Where it is no UUID.
    pub fn and_uid(mut self, uid: &str) -> Result<Self, ReferenceError> {
        if !is_uuid(uid) {
            return Err(ReferenceError::Uid);
        }
        uid.clone_into(&mut self.0.uid);
        Ok(self)
    }

    fn keyed(
        plural: &str,
        group: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Self, ReferenceError> {
        if name.is_empty() {
            return Err(ReferenceError::Name);
        }
        let mut object = Self::of(plural, group)?;
        object.0.key = Some(KubernetesObjectKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        });
        Ok(object)
    }

    fn of(plural: &str, group: &str) -> Result<Self, ReferenceError> {
        if plural.is_empty() {
            return Err(ReferenceError::Plural);
        }
        let version = group
            .strip_prefix('v')
            .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
        if group.is_empty() || version {
            return Err(ReferenceError::Group);
        }
        Ok(Self(KubernetesObjectReference {
            r#type: Some(KubernetesObjectType {
                plural: plural.to_owned(),
                group: group.to_owned(),
            }),
            key: None,
            uid: String::new(),
        }))
    }
}

impl From<KubernetesObject> for Reference {
    fn from(KubernetesObject(object): KubernetesObject) -> Self {
        Self {
            message: standard("KubernetesObjectReference", &object),
            is_local: false,
        }
    }
}

fn standard(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any {
        type_url: format!("type.googleapis.com/spiffe.broker.{name}"),
        value: message.encode_to_vec(),
    }
}

fn is_uuid(text: &str) -> bool {
    let groups = text.split('-').map(|group| {
        let hex = group.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then_some(group.len())
    });
    groups.eq([8, 4, 4, 4, 12].map(Some))
}

/// Why a reference means nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The API group of an object is missing, or a version.
    #[error("an object needs its API group without a version, as in apps; that of pods is core")]
    Group,
    /// The name of an object is missing.
    #[error("an object needs a name, or a UID in its place")]
    Name,
    /// The namespace of an object is missing.
    #[error("an object in a namespace needs its name; one in none is in the cluster")]
    Namespace,
    /// What a kind of objects is called is missing.
    #[error("an object needs what its kind is called, as in pods")]
    Plural,
    /// There is no process of this number.
    #[error("no process has the number {pid}: it must be from 1 to 2147483647")]
    Process {
        /// The number.
        pid: u32,
    },
    /// The type of a message of one's own is not written as types are.
    #[error("a type is written as in type.googleapis.com/package.Message")]
    TypeUrl,
    /// The UID of an object is no UUID.
    #[error("a UID is a UUID, as in a1b2c3d4-e5f6-7890-abcd-ef1234567890")]
    Uid,
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "a1b2c3d4-e5f6-7890-abcd-ef1234567890";

    // conformance: BA-8+ BA-16+ BA-16- BA-25+
    #[test]
    fn a_process_has_a_number() {
        let any = Reference::process(1234)
            .unwrap()
            .to_wire()
            .reference
            .unwrap();
        assert_eq!(
            any.type_url,
            "type.googleapis.com/spiffe.broker.WorkloadPIDReference"
        );
        let sent = WorkloadPidReference::decode(&*any.value).unwrap();
        assert_eq!(sent.pid, 1234);
        for pid in [0, 1 << 31, u32::MAX] {
            assert_eq!(
                Reference::process(pid),
                Err(ReferenceError::Process { pid })
            );
        }
    }

    // conformance: BA-17+ BA-17- BA-18+ BA-18- BA-19+ BA-20+ BA-23+ BA-23-
    #[test]
    fn an_object_is_found_by_its_place_or_its_uid() {
        let sent = |object: KubernetesObject| {
            let any = Reference::from(object).to_wire().reference.unwrap();
            assert!(
                any.type_url
                    .ends_with("/spiffe.broker.KubernetesObjectReference")
            );
            KubernetesObjectReference::decode(&*any.value).unwrap()
        };
        let pod = KubernetesObject::in_namespace("pods", "core", "shop", "web-0").unwrap();
        let key = sent(pod.clone()).key.unwrap();
        assert_eq!((&*key.namespace, &*key.name), ("shop", "web-0"));
        let both = sent(pod.and_uid(UID).unwrap());
        assert_eq!((both.key.is_some(), &*both.uid), (true, UID));
        let node = sent(KubernetesObject::in_cluster("nodes", "core", "n1").unwrap());
        assert_eq!(node.key.unwrap().namespace, "");
        let by_uid = sent(KubernetesObject::by_uid("deployments", "apps", UID).unwrap());
        assert_eq!((by_uid.key, &*by_uid.uid), (None, UID));

        for (object, why) in [
            (
                KubernetesObject::in_namespace("pods", "core", "", "a"),
                ReferenceError::Namespace,
            ),
            (
                KubernetesObject::in_namespace("pods", "core", "a", ""),
                ReferenceError::Name,
            ),
            (
                KubernetesObject::in_cluster("nodes", "core", ""),
                ReferenceError::Name,
            ),
            (
                KubernetesObject::in_cluster("", "core", "a"),
                ReferenceError::Plural,
            ),
            (
                KubernetesObject::in_cluster("nodes", "", "a"),
                ReferenceError::Group,
            ),
            (
                KubernetesObject::in_cluster("nodes", "v1", "a"),
                ReferenceError::Group,
            ),
            (
                KubernetesObject::by_uid("pods", "core", "abc"),
                ReferenceError::Uid,
            ),
            (
                KubernetesObject::by_uid("pods", "core", ""),
                ReferenceError::Uid,
            ),
        ] {
            assert_eq!(object, Err(why));
        }
    }

    #[test]
    fn a_type_of_ones_own_is_named_in_full() {
        let own = Reference::custom("type.googleapis.com/acme.v1.Vm", vec![1]).unwrap();
        assert_eq!(own.to_wire().reference.unwrap().value, [1]);
        for text in ["", "acme.v1.Vm", "/acme.v1.Vm", "type.googleapis.com/Vm"] {
            assert_eq!(
                Reference::custom(text, Vec::new()),
                Err(ReferenceError::TypeUrl)
            );
        }
    }
}

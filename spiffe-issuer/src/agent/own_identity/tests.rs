use super::super::cache::samples::{Authority, at};
use super::*;
use crate::keys::DiskKeys;

const TD: TrustDomain = TrustDomain::from_static("td");
const AGENT: &str = "/spire/agent/join_token/t";

struct Home {
    dir: tempfile::TempDir,
    authority: Authority,
}

impl Home {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            authority: Authority::new(),
        }
    }

    async fn start(&self) -> (OwnIdentity, Option<Term>) {
        let (storage, found) = Storage::open(self.dir.path()).await.unwrap();
        let keys = Arc::new(DiskKeys::new(self.dir.path().join("keys.json")));
        OwnIdentity::restore(TD, found, keys, storage, Renewal::default())
            .await
            .unwrap()
    }

    async fn adopt(
        &self,
        own: &OwnIdentity,
        path: &str,
        now: u64,
    ) -> Result<Term, OwnIdentityError> {
        let key = own.next_key().await.unwrap();
        let chain = self
            .authority
            .sign(path, key.signer().public_key(), 0, 3600);
        own.adopt(vec![chain], &key, false, at(now)).await
    }
}

#[tokio::test]
async fn it_comes_back_after_a_restart() {
    let home = Home::new();
    let (own, term) = home.start().await;
    assert!(term.is_none() && own.id().is_none());
    own.set_bundle(home.authority.bundle("td")).await;
    home.adopt(&own, AGENT, 0).await.unwrap();
    let id = own.id();
    assert_eq!(id.as_ref().unwrap().path(), AGENT);

    let (again, term) = home.start().await;
    assert_eq!(again.id(), id);
    assert_eq!(again.bundle(), Some(home.authority.bundle("td")));
    let term = term.unwrap();
    assert_eq!(term.expires_at, at(3600));
    assert!(term.renew_at > at(1600) && term.renew_at < at(2000));
    let snapshot = again.source().snapshot();
    assert_eq!(snapshot.svid().map(|svid| svid.id().clone()), id);
}

#[tokio::test]
async fn the_next_key_never_replaces_the_one_in_force() {
    let home = Home::new();
    let (own, _) = home.start().await;
    own.set_bundle(home.authority.bundle("td")).await;
    for _ in 0..3 {
        home.adopt(&own, AGENT, 0).await.unwrap();
        // Making one and stopping there is what a crash looks like.
        own.next_key().await.unwrap();
        let (again, term) = home.start().await;
        assert!(term.is_some() && again.id().is_some());
    }
}

#[tokio::test]
async fn what_is_no_agent_of_ours_is_not_adopted() {
    let home = Home::new();
    let (own, _) = home.start().await;
    own.set_bundle(home.authority.bundle("td")).await;
    let before = home.adopt(&own, AGENT, 0).await.unwrap();
    let id = own.id();

    let server = home.adopt(&own, "/spire/server", 0).await;
    assert!(matches!(server, Err(OwnIdentityError::NotAnAgent(_))));
    let expired = home.adopt(&own, AGENT, 3601).await;
    assert!(matches!(expired, Err(OwnIdentityError::NotBelieved(_))));
    let key = own.next_key().await.unwrap();
    let foreign = Authority::new().sign(AGENT, key.signer().public_key(), 0, 3600);
    let foreign = own.adopt(vec![foreign], &key, false, at(0)).await;
    assert!(matches!(foreign, Err(OwnIdentityError::NotBelieved(_))));
    let others = home.authority.sign(
        AGENT,
        own.next_key().await.unwrap().signer().public_key(),
        0,
        3600,
    );
    let others = own.adopt(vec![others], &key, false, at(0)).await;
    assert!(
        matches!(others, Err(OwnIdentityError::Svid(_))),
        "{others:?}"
    );

    assert_eq!(own.id(), id, "what was in force stays");
    assert_eq!(home.start().await.1.unwrap().expires_at, before.expires_at);
}

#[tokio::test]
async fn a_server_whose_clock_is_a_little_ahead_is_believed() {
    let home = Home::new();
    let (own, _) = home.start().await;
    own.set_bundle(home.authority.bundle("td")).await;
    for (begins, good) in [(299, true), (400, false)] {
        let key = own.next_key().await.unwrap();
        let chain = home
            .authority
            .sign(AGENT, key.signer().public_key(), begins, 3600);
        let adopted = own.adopt(vec![chain], &key, false, at(0)).await;
        assert_eq!(adopted.is_ok(), good, "{begins}: {adopted:?}");
    }
}

#[tokio::test]
async fn a_first_bundle_is_kept_only_once_it_proved_good() {
    let home = Home::new();
    let (own, _) = home.start().await;
    own.try_bundle(Authority::new().bundle("td"));
    home.adopt(&own, AGENT, 0).await.unwrap_err();
    assert!(!own.has_proven_bundle());
    assert!(home.start().await.0.bundle().is_none());

    own.try_bundle(home.authority.bundle("td"));
    home.adopt(&own, AGENT, 0).await.unwrap();
    assert!(own.has_proven_bundle());
    let kept = home.start().await.0.bundle();
    assert_eq!(kept, Some(home.authority.bundle("td")));
}

#[tokio::test]
async fn what_could_not_be_kept_is_kept_as_soon_as_it_can_be() {
    let home = Home::new();
    let (own, _) = home.start().await;
    own.set_bundle(home.authority.bundle("td")).await;
    // The file has no room to be written in while a directory stands in its place.
    let file = home.dir.path().join("agent-data.json");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    home.adopt(&own, AGENT, 0).await.unwrap();
    std::fs::remove_dir(&file).unwrap();
    assert!(home.start().await.1.is_none());
    // The bundle says nothing new, as it does at nearly every sync.
    own.set_bundle(home.authority.bundle("td")).await;
    let (again, term) = home.start().await;
    assert!(term.is_some(), "it comes back without a token");
    assert_eq!(again.bundle(), Some(home.authority.bundle("td")));
}

#[tokio::test]
async fn what_is_forgotten_is_not_found_again() {
    let home = Home::new();
    let (own, _) = home.start().await;
    own.set_bundle(home.authority.bundle("td")).await;
    home.adopt(&own, AGENT, 0).await.unwrap();
    assert!(own.is_signed_by(&[home.authority.key_id()].into()));
    own.forget().await;
    assert!(own.id().is_none());
    assert!(own.source().snapshot().svid().is_none());
    let (again, term) = home.start().await;
    assert!(again.id().is_none() && term.is_none());
    assert!(again.bundle().is_some(), "whom to believe is still known");
}

#[tokio::test]
async fn who_waits_for_it_is_woken() {
    use futures_util::FutureExt;
    let home = Home::new();
    let (own, _) = home.start().await;
    assert!(own.in_force().now_or_never().is_none());
    own.set_bundle(home.authority.bundle("td")).await;
    home.adopt(&own, AGENT, 0).await.unwrap();
    own.in_force().await;
}

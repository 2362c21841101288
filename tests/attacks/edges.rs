//! A stolen credential, a lost key, a revoked edge.

use std::fs;

use edge::clock::Clock;
use edge::credential::Credential;
use edge::key_pair::KeyPair;
use serde_json::{Value, json};
use sync::wire::base64url;
use sync::wire::message::{NDJSON, NONCE_HEADER, PROTOCOL, PROTOCOL_HEADER};
use sync::wire::renewal::{self, AskChallenge, Challenge, Renew};
use sync::wire::stream;
use tests::deployment::{Deployment, Edge, HEADQUARTERS};
use tests::wait::eventually;

/// Speaks to a hub with whatever credential an attacker has.
pub(crate) struct Intruder {
    hub: String,
}

impl Intruder {
    pub(crate) fn before(world: &Deployment) -> Self {
        Self { hub: format!("http://127.0.0.1:{}", world.hub(0).port()) }
    }

    /// The answer's status and body.
    pub(crate) async fn say(&self, route: &str, credential: Option<&str>, message: Value) -> (u16, Vec<u8>) {
        let mut request = tests::client::plain()
            .post(format!("{}/sync/v1/{route}", self.hub))
            .header(PROTOCOL_HEADER, PROTOCOL.to_string())
            .header(NONCE_HEADER, "n")
            .header("content-type", NDJSON)
            .body(stream::write_one(&message).expect("it can be written"));
        if let Some(credential) = credential {
            request = request.bearer_auth(credential);
        }
        let response = request.send().await.expect("the hub answers");
        (response.status().as_u16(), response.bytes().await.expect("a body").to_vec())
    }

    /// What a hub makes of a credential: 401 and 403 when it refuses it, 400 when it asks what it is meant to do with nothing.
    pub(crate) async fn status_of(&self, credential: &str) -> u16 {
        self.say("hello", Some(credential), Value::Null).await.0
    }

    async fn challenge(&self, edge: uuid::Uuid) -> (u16, String) {
        let (status, body) = self.say("challenge", None, json!(AskChallenge { edge })).await;
        (status, stream::read_one::<Challenge>(&body).map(|answer| answer.challenge).unwrap_or_default())
    }

    /// Asks for a credential that the attacker knows, signed with a key, and shows it.
    async fn renew_with(&self, edge: uuid::Uuid, key: &KeyPair) -> (u16, u16) {
        let (_, challenge) = self.challenge(edge).await;
        let mine = renewal::credential(edge, [66; 32]);
        let hash = base64url::encode(sync::hub::edge_auth::hash(&mine));
        let signature = key.sign(&renewal::signed_text(edge, &challenge, &hash));
        let (status, _) = self.say("renew", None, json!(Renew { edge, challenge, hash, signature })).await;
        (status, self.status_of(&mine).await)
    }
}

fn kept(edge: &Edge) -> Credential {
    Credential::load(&edge.data().join("credential.json")).expect("it can be read").expect("it is there")
}

async fn credentials(world: &Deployment) -> String {
    world.sql("select count(*) || ' ' || count(replaces) from sync.edge_credentials").await
}

#[tokio::test]
async fn an_old_credential_is_renewed_by_itself_and_is_worth_nothing_afterwards() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let (edge, intruder) = (world.edge(0), Intruder::before(&world));
    let stolen = kept(edge).identity.credential;
    assert_eq!(intruder.status_of(&stolen).await, 400, "it is good");
    world.sql("update sync.edge_credentials set issued_at = now() - interval '8 days'").await;
    edge.sync_now().await;
    eventually("another credential is kept", async || {
        let now = kept(edge).identity.credential;
        if now == stolen { Err("the same".to_owned()) } else { Ok(()) }
    })
    .await;
    // Its first use ends the former one.
    edge.sync_now().await;
    assert_eq!(intruder.status_of(&stolen).await, 401);
    assert_eq!(credentials(&world).await, "1 0");
    assert_eq!(edge.status().await["state"], "online");
    edge.kill();
    edge.start().await;
    edge.is_in_sync().await;
}

#[tokio::test]
async fn an_edge_that_was_away_longer_than_its_credential_is_good_comes_back_by_its_key() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    edge.kill();
    let before = kept(edge).identity.credential;
    world.sql("update sync.edge_credentials set expires_at = now()").await;
    assert_eq!(Intruder::before(&world).status_of(&before).await, 401);
    world.sql("insert into tasks (tenant_id, user_id, site_id, title) select tenant_id, user_id, site_id, 'meanwhile' from tasks where site_id is not null limit 1").await;
    edge.start().await;
    world.assert_equal_dumps().await;
    assert_ne!(kept(edge).identity.credential, before);
}

#[tokio::test]
async fn a_box_restored_with_a_credential_from_before_a_renewal_comes_back_by_its_key_and_its_copy_too() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    let backup = fs::read(edge.data().join("credential.json")).expect("it can be read");
    let former = kept(edge).identity.credential;
    world.sql("update sync.edge_credentials set issued_at = now() - interval '8 days'").await;
    edge.sync_now().await;
    eventually("the former credential has ended", async || {
        let status = Intruder::before(&world).status_of(&former).await;
        if status == 401 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let own = kept(edge).identity.credential;
    edge.kill();
    fs::write(edge.data().join("credential.json"), &backup).expect("it can be written");
    edge.start().await;
    edge.is_in_sync().await;
    assert_eq!(Intruder::before(&world).status_of(&own).await, 400, "the other copy goes on with its own");
    assert_eq!(Intruder::before(&world).status_of(&kept(edge).identity.credential).await, 400);
}

#[tokio::test]
async fn nobody_gets_a_credential_without_the_edges_key_and_nobody_at_all_for_a_revoked_edge() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let (edge, intruder) = (world.edge(0), Intruder::before(&world));
    let Credential { identity, key, .. } = kept(edge);
    let key = key.expect("every edge has a key");
    let other = KeyPair::generate(Clock::new());
    assert_eq!(intruder.renew_with(identity.edge, &other).await, (401, 401));
    assert_eq!(intruder.challenge(uuid::Uuid::from_u128(7)).await.0, 401, "no edge");
    assert_eq!(credentials(&world).await, "1 0");
    world.hub_command(&["edge", "revoke", "hq-1"]).await.succeeded();
    assert_eq!(intruder.status_of(&identity.credential).await, 403);
    assert_eq!(intruder.challenge(identity.edge).await.0, 403);
    let forged = Renew {
        edge: identity.edge,
        challenge: String::new(),
        hash: base64url::encode([0; 32]),
        signature: key.sign("anything"),
    };
    assert_eq!(intruder.say("renew", None, json!(forged)).await.0, 403);
    assert_eq!(credentials(&world).await, "1 0");
    edge.until_status("it says so", |status| status["state"] == "revoked").await;
}

/// The attack above works when the attacker does have the key: it is the key that makes the difference.
#[tokio::test]
async fn whoever_has_the_key_is_the_edge() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let Credential { identity, key, .. } = kept(world.edge(0));
    let key = key.expect("every edge has a key");
    assert_eq!(Intruder::before(&world).renew_with(identity.edge, &key).await, (200, 400));
}

#[tokio::test]
async fn whoever_guesses_codes_has_to_wait_and_a_right_one_costs_nothing() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let intruder = Intruder::before(&world);
    let key = base64url::encode([0; 32]);
    let guess = async |code: String| {
        intruder.say("enroll", None, json!({"code": code, "app_version": "x", "key": key})).await.0
    };
    let mut wrong = 0;
    while guess(format!("{wrong:016}")).await == 401 {
        wrong += 1;
        assert!(wrong <= sync::peers::TRIES_FREE, "nobody stops it");
    }
    assert_eq!(wrong, sync::peers::TRIES_FREE);
    assert_eq!(guess(world.enrolment_code(tests::deployment::WAREHOUSE).await).await, 429, "a right one waits too");
    assert_eq!(intruder.challenge(uuid::Uuid::nil()).await.0, 429, "whatever it tries");
    world.edge(0).sync_now().await.expect(200);
}

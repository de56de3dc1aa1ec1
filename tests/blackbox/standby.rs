//! Two processes, one state folder: one decides, the other serves its split and waits.

use crate::support::SOON;
use crate::support::admin::actual;
use crate::support::client::Version;
use crate::support::load::Load;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::process::Serin;
use crate::support::site::{Digits, Site};

#[tokio::test]
async fn the_second_serves_refuses_verbs_and_takes_over() {
    let baseline = ModelServer::start(Behaviour::GOOD);
    let canary = ModelServer::start(Behaviour::GOOD);
    let first = Site::new();
    let digits = Digits::new(baseline.address(), canary.address(), "weight: 100%");
    first.configure(&digits);
    let leader = first.start().await;
    first.admin().weight(1.0).await;

    // The same state, other addresses.
    let second = Site::new();
    let own_state = second.path("state").display().to_string();
    let shared_state = first.path("state").display().to_string();
    second.write(second.text(&digits).replace(&own_state, &shared_state));
    let _standby = second.start().await;
    second.admin().weight(1.0).await;
    let reply = second.client(Version::Http1).infer("somebody").await;
    assert!(reply.unwrap().is_canary(), "the journal's split is served");

    let refused = second.admin().post("abort", r#"{"reason": "no"}"#).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    second.verb_exits(1, &["abort", "digits"]).await;
    assert_eq!(actual(&first.admin().status().await), 1.0);

    // What the first decides is followed.
    first.verb_exits(0, &["set-weight", "digits", "0%"]).await;
    second.admin().weight(0.0).await;
    let reply = second.client(Version::Http1).infer("somebody").await;
    assert!(!reply.unwrap().is_canary());

    leader.kill();
    crate::support::eventually("the second takes over", SOON, async || {
        let reply = second
            .admin()
            .post("set-weight", r#"{"weight": "100%"}"#)
            .await;
        (reply.status == 200).then_some(())
    })
    .await;
    second.admin().weight(1.0).await;
}

#[tokio::test]
async fn a_replacement_on_the_same_file_takes_every_port() {
    let model = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let digits = Digits::new(model.address(), model.address(), "weight: 10%");
    site.configure(&digits);
    let mut old = site.start().await;
    let mut new: Serin = site.launch();
    let load = Load::start(site.http, 2);
    crate::support::eventually("traffic flows", SOON, async || {
        (load.sent() > 20).then_some(())
    })
    .await;
    assert!(new.is_running(), "{}", new.log());
    old.terminate();
    assert_eq!(old.ended(SOON).await.code(), Some(0), "{}", old.log());
    crate::support::eventually("the replacement is ready", SOON, async || {
        site.admin().is_ready().await.then_some(())
    })
    .await;
    site.verb_exits(0, &["set-weight", "digits", "20%"]).await;
    site.admin().weight(0.2).await;
    let reply = site.client(Version::Http1).infer("somebody").await.unwrap();
    assert_eq!(reply.status, 200);
    assert!(new.is_running());
    drop(load.stop().await);
}

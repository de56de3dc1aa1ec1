//! The file is edited while traffic flows: in force within two seconds, and nobody notices.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::admin::actual;
use crate::support::load::Load;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::site::{Digits, Site};
use crate::support::{SOON, eventually};

/// From the edit to the split in force.
const IN_FORCE: Duration = Duration::from_secs(2);

/// Waits until the load has moved on by this many requests.
async fn more_traffic(load: &Load, requests: u64) {
    let until = load.sent() + requests;
    eventually("traffic goes on", SOON, async || {
        (load.sent() >= until).then_some(())
    })
    .await;
}

async fn in_force(site: &Site, weight: f64, since: Instant) {
    site.admin().weight(weight).await;
    let took = since.elapsed();
    assert!(took <= IN_FORCE, "{weight} in force after {took:?}");
}

#[tokio::test]
async fn a_weight_edited_under_load() {
    let baseline = ModelServer::start(Behaviour::GOOD);
    let canary = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let digits = Digits::new(baseline.address(), canary.address(), "weight: 0%");
    site.configure(&digits);
    let _serin = site.start().await;
    let load = Load::start(site.http, 4);
    more_traffic(&load, 50).await;
    assert_eq!(canary.requests(), 0);
    for percent in [10, 50, 30, 100, 0] {
        let edited = Instant::now();
        site.configure(&digits.plan(format!("weight: {percent}%")));
        in_force(&site, f64::from(percent) / 100.0, edited).await;
        more_traffic(&load, 100).await;
    }
    // Requests that were assigned before the last edit have been answered by now.
    let settled = canary.requests();
    assert!(settled > 0);
    more_traffic(&load, 100).await;
    assert_eq!(canary.requests(), settled);
    load.stop().await.expect_clean();
}

/// Writes a new generation of a mounted ConfigMap the way a kubelet does: a new folder, then one rename.
fn publish(volume: &Path, generation: u32, text: &str) {
    let folder = format!("..generation_{generation}");
    fs::create_dir(volume.join(&folder)).unwrap();
    fs::write(volume.join(&folder).join("serin.yaml"), text).unwrap();
    symlink(&folder, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if generation > 1 {
        let old = format!("..generation_{}", generation - 1);
        fs::remove_dir_all(volume.join(old)).unwrap();
    }
}

#[tokio::test]
async fn a_config_map_that_is_swapped_under_load() {
    let baseline = ModelServer::start(Behaviour::GOOD);
    let canary = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let digits = Digits::new(baseline.address(), canary.address(), "weight: 10%");
    let volume = site.path("volume");
    fs::create_dir(&volume).unwrap();
    publish(&volume, 1, &site.text(&digits));
    symlink("..data/serin.yaml", volume.join("serin.yaml")).unwrap();
    symlink("volume/serin.yaml", site.config()).unwrap();
    let config = volume.join("serin.yaml");
    let _serin = crate::support::process::Serin::spawn(&["run", "-c", config.to_str().unwrap()]);
    site.admin().weight(0.1).await;
    let load = Load::start(site.http, 2);
    for (generation, percent) in [(2, 20), (3, 40), (4, 30)] {
        let swapped = Instant::now();
        let text = site.text(&digits.plan(format!("weight: {percent}%")));
        publish(&volume, generation, &text);
        in_force(&site, f64::from(percent) / 100.0, swapped).await;
    }
    more_traffic(&load, 20).await;
    load.stop().await.expect_clean();
}

#[tokio::test]
async fn a_file_replaced_by_rename() {
    let baseline = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let digits = Digits::new(baseline.address(), baseline.address(), "weight: 10%");
    site.configure(&digits);
    let _serin = site.start().await;
    for percent in [20, 30, 40] {
        let replaced = Instant::now();
        let text = site.text(&digits.plan(format!("weight: {percent}%")));
        fs::write(site.path("serin.yaml.new"), text).unwrap();
        fs::rename(site.path("serin.yaml.new"), site.config()).unwrap();
        in_force(&site, f64::from(percent) / 100.0, replaced).await;
    }
}

#[tokio::test]
async fn a_signal_without_a_change_is_counted_as_unchanged() {
    let baseline = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let digits = Digits::new(baseline.address(), baseline.address(), "weight: 10%");
    site.configure(&digits);
    let serin = site.start().await;
    let admin = site.admin();
    let epoch = admin.status().await["epoch"].clone();
    let before = admin.reloads("unchanged").await;
    serin.hang_up();
    admin.reloads_beyond(before, "unchanged").await;
    let status = admin.status().await;
    assert_eq!(status["epoch"], epoch, "no new epoch without a new split");
    assert_eq!(actual(&status), 0.1);
    assert_eq!(status["config"]["refused"], Value::Null);
}

#[tokio::test]
async fn endpoints_and_routes_change_without_a_restart() {
    let old = ModelServer::start(Behaviour::GOOD);
    let new = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let mut digits = Digits::new(old.address(), old.address(), "weight: 0%");
    site.configure(&digits);
    let _serin = site.start().await;
    let load = Load::start(site.http, 2);
    more_traffic(&load, 20).await;
    digits.baseline = new.address();
    site.configure(&digits);
    eventually("the new endpoint is asked", SOON, async || {
        (new.requests() > 0).then_some(())
    })
    .await;

    let mut client = site.client(crate::support::client::Version::Http1);
    let elsewhere = "/elsewhere";
    let ask = async |client: &mut crate::support::client::Client| {
        let reply = client.ask(hyper::Method::GET, elsewhere, &[], "").await;
        reply.unwrap().status.as_u16()
    };
    assert_eq!(ask(&mut client).await, 404, "no route yet");
    let address = new.address();
    let more = format!(
        "  - name: everything-else\n    backends: {{baseline: {{endpoints: [\"http://{address}\"]}}}}\n"
    );
    site.write(site.text(&digits) + &more);
    eventually("the new route", SOON, async || {
        (ask(&mut client).await == 200).then_some(())
    })
    .await;
    load.stop().await.expect_clean();
}

/// Who reads the log learns what became of an edit, and what of it needs a restart.
#[tokio::test]
async fn what_came_of_a_reload_is_logged() {
    let baseline = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let digits = Digits::new(baseline.address(), baseline.address(), "weight: 10%");
    site.configure(&digits);
    let serin = site.start().await;
    let admin = site.admin();
    let before = admin.reloads("refused").await;
    site.write(site.text(&digits.plan("weight: 10")));
    admin.reloads_beyond(before, "refused").await;
    eventually("the mistake in the log", SOON, async || {
        let log = serin.log();
        (log.contains("configuration refused") && log.contains("write 10%")).then_some(())
    })
    .await;
    let text = site.text(&digits.plan("weight: 20%"));
    site.write(text.replace("workers: 2", "workers: 7"));
    admin.weight(0.2).await;
    eventually("the change in the log", SOON, async || {
        let log = serin.log();
        (log.contains("configuration taken over") && log.contains("workers")).then_some(())
    })
    .await;
}

/// A refused file is told of by rollouts; where there are only plain routes `status` tells it all the same.
#[tokio::test]
async fn a_file_that_is_refused_is_told_without_a_rollout_too() {
    let model = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let text = format!(
        "listen: {}\nadmin: {}\nstate: {}\nroutes:\n  - name: plain\n    backends: {{baseline: {{endpoints: \
         [\"http://{}\"]}}}}\n",
        site.http,
        site.admin,
        site.path("state").display(),
        model.address(),
    );
    site.write(&text);
    let _serin = site.start().await;
    let admin = site.admin();
    let in_force = admin.get("/api/v1/config").await.json();
    let said = site.verb_exits(1, &["status"]).await;
    assert_eq!(said.out, "", "{said:?}");

    let before = admin.reloads("refused").await;
    site.write(format!("{text}limits: {{drian: 3s}}\n"));
    admin.reloads_beyond(before, "refused").await;
    let said = site.verb_exits(1, &["status"]).await;
    assert!(said.out.contains("refused") && said.out.contains("drian"));
    assert!(said.err.contains("there is no rollout"), "{said:?}");
    let said = site.verb_exits(1, &["status", "--output", "json"]).await;
    assert_eq!(said.out, "[]\n");
    assert!(said.err.contains("drian"), "{said:?}");
    let mut told = admin.get("/api/v1/config").await.json();
    let refused = told.as_object_mut().unwrap().remove("refused");
    let refused = refused.expect("the report");
    assert!(refused.as_str().unwrap().contains("drian"), "{refused}");
    assert_eq!(told, in_force);

    site.write(&text);
    eventually("the refusal is over", SOON, async || {
        let config = admin.get("/api/v1/config").await.json();
        (config == in_force).then_some(())
    })
    .await;
}

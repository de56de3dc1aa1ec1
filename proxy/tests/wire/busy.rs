//! How much a backend is asked at once, and what becomes of the others; and endpoints that say they have enough.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use serin_config::model::{Concurrency, Handling};
use serin_stats::snapshot::{Arm, Outcome};

use super::endpoints::{among, metrics, start};
use super::support::{
    Proxy, config, full, get, holding, one_at_a_time, refusing, rollout, route, text, until,
    upstream, within,
};

#[tokio::test]
async fn beyond_its_limit_a_backend_has_a_queue_and_beyond_that_nothing() {
    let (server, mut held) = holding("done").await;
    let mut limited = rollout(server, refusing().await);
    limited.baseline.handling.concurrency = one_at_a_time(1);
    let proxy = start(limited);
    let (mut first, mut second) = (proxy.http1().await, proxy.http1().await);
    let first = tokio::spawn(async move { first.send_request(get("/")).await });
    let release = within("the first", held.recv()).await.unwrap();
    let second = tokio::spawn(async move { second.send_request(get("/")).await });
    until("the second waits", || {
        metrics(&proxy).contains("serin_backend_waiting{rollout=\"main\",arm=\"baseline\"} 1\n")
    })
    .await;
    let shed = proxy.ask(get("/")).await;
    assert_eq!(shed.status(), 503);
    assert_eq!(shed.headers()["retry-after"], "1");
    assert!(held.try_recv().is_err(), "nobody else was asked");
    release.send(()).unwrap();
    let answered = within("the first", first).await.unwrap().unwrap();
    assert_eq!(text(answered).await, "done");
    within("the second", held.recv())
        .await
        .unwrap()
        .send(())
        .unwrap();
    let answered = within("the second", second).await.unwrap().unwrap();
    assert_eq!(text(answered).await, "done");
    let metrics = metrics(&proxy);
    assert!(metrics.contains("serin_backend_shed_total{rollout=\"main\",arm=\"baseline\"} 1\n"));
    let counts = proxy.counts(3).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Error), 1);
    assert_eq!(counts.of(Arm::Baseline, Outcome::Success), 2);
}

/// An edit of the limit concerns those who are in and who wait, too.
#[tokio::test]
async fn a_reload_moves_the_limit_under_those_who_are_in() {
    let (server, mut held) = holding("done").await;
    let mut limited = route(server);
    let concurrency = |max_in_flight, queue| {
        Some(Concurrency {
            max_in_flight,
            queue,
            queue_timeout: Duration::from_secs(60),
        })
    };
    limited.baseline.handling.concurrency = concurrency(1, 8);
    let mut proxy = start(limited.clone());
    let mut asking = Vec::new();
    for _ in 0..4 {
        let mut client = proxy.http1().await;
        asking.push(tokio::spawn(
            async move { client.send_request(get("/")).await },
        ));
    }
    let waiting = |proxy: &Proxy, count: usize| {
        let line = format!("serin_backend_waiting{{rollout=\"main\",arm=\"baseline\"}} {count}\n");
        metrics(proxy).contains(&line)
    };
    let mut releases = vec![within("the first", held.recv()).await.unwrap()];
    until("three wait", || waiting(&proxy, 3)).await;
    let mut reload = |proxy: &mut Proxy, limit| {
        limited.baseline.handling.concurrency = limit;
        let mut one_worker = config(vec![limited.clone()]);
        one_worker.workers = NonZeroUsize::new(1);
        proxy.install(&Arc::new(one_worker), 0.0);
    };
    reload(&mut proxy, concurrency(1, 9));
    assert!(held.try_recv().is_err(), "nobody else was let in");
    reload(&mut proxy, concurrency(3, 9));
    for _ in 0..2 {
        releases.push(within("who waited", held.recv()).await.unwrap());
    }
    until("one waits", || waiting(&proxy, 1)).await;
    assert!(held.try_recv().is_err(), "nobody else was let in");
    releases.remove(0).send(()).unwrap();
    releases.push(within("the last", held.recv()).await.unwrap());
    for release in releases {
        release.send(()).unwrap();
    }
    for asked in asking {
        assert_eq!(
            within("an answer", asked).await.unwrap().unwrap().status(),
            200
        );
    }
}

/// Who sends everybody away at once has nothing to do, and is not the one to ask for it.
#[tokio::test]
async fn an_endpoint_that_sends_everybody_away_attracts_nobody() {
    let never = Handling {
        ejection: None,
        ..Handling::DEFAULT
    };
    for status in [429, 502, 503, 504] {
        let busy = upstream(move |_| async move {
            let mut response = Response::new(full("busy"));
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            response
        });
        let slow = upstream(|_| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Response::new(full("slow"))
        });
        let proxy = start(among(&[busy.await, slow.await], never.clone()));
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut client = proxy.http1().await;
            clients.push(tokio::spawn(async move {
                let mut sent_away = 0;
                for _ in 0..25 {
                    let answer = client.send_request(get("/")).await.unwrap();
                    sent_away += usize::from(answer.status() == status);
                    text(answer).await;
                }
                sent_away
            }));
        }
        let mut sent_away = 0;
        for client in clients {
            sent_away += within("all answers", client).await.unwrap();
        }
        assert!(sent_away <= 20, "{status}: {sent_away} of 100");
    }
}

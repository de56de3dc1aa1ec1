//! As many workers as the process may use cores, unless the configuration says how many.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::support::model::{Behaviour, ModelServer};
use crate::support::site::{Digits, Site};
use crate::support::{SOON, eventually};

async fn workers_on_one_core(workers: &str) -> usize {
    let model = ModelServer::start(Behaviour::GOOD);
    let site = Site::new();
    let digits = Digits::new(model.address(), model.address(), "weight: 0%");
    let wanted = format!("workers: {workers}");
    site.write(site.text(&digits).replace("workers: 2", &wanted));
    // A process inherits the cores of the thread that starts it.
    let serin = std::thread::scope(|scope| {
        let launch = scope.spawn(|| {
            let allowed = sched_getaffinity(None).unwrap();
            let first = (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core));
            let mut one = CpuSet::new();
            one.set(first.unwrap());
            sched_setaffinity(None, &one).unwrap();
            site.launch()
        });
        launch.join().unwrap()
    });
    eventually("the process is ready", SOON, async || {
        site.admin().is_ready().await.then_some(())
    })
    .await;
    let names = serin.threads();
    let workers = names.iter().filter(|name| name.starts_with("serin-worker"));
    workers.count()
}

#[tokio::test]
async fn auto_means_the_cores_that_the_process_may_use() {
    assert_eq!(workers_on_one_core("auto").await, 1);
}

#[tokio::test]
async fn a_number_is_a_number() {
    assert_eq!(workers_on_one_core("3").await, 3);
}

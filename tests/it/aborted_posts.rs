//! Apps that hang up in the middle of a post: no database connection is left inside a transaction, and nothing that was
//! acknowledged is missing. A driver that drops a future half-way would lose writes here.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    database_faults::{behind_a_network, taken},
    support::{Client, gateway::string, network::Fault, process::post},
};

const TO: &str = "+8618637616887";
/// Posts that are under way at once.
const AT_ONCE: usize = 64;

#[tokio::test]
async fn posts_that_are_aborted_leave_no_open_transaction_and_lose_no_write() {
    abort(600).await;
}

#[tokio::test]
#[ignore = "takes half a minute: ./dev faults"]
async fn five_thousand_aborted_posts_leave_no_open_transaction_and_lose_no_write() {
    abort(5000).await;
}

#[expect(clippy::print_stdout, reason = "how it went is worth seeing")]
async fn abort(posts: usize) {
    let (site, network) = behind_a_network().await;
    let process = site.start().await;
    network.set(Fault::Slow(Duration::from_millis(15)));
    let began = Instant::now();
    let acknowledged = each(&process.client, posts, |client, key| async move {
        // Some are patient, so that some are acknowledged.
        let millis = if key.ends_with('7') { 5000 } else { rand::rng().random_range(1..=60) };
        let patience = Duration::from_millis(millis);
        let answer = tokio::time::timeout(patience, post(&client, &key, TO, "hello")).await.ok()??;
        (answer.status == 202).then(|| string(&answer.json["id"]).to_owned())
    })
    .await;
    let aborted = posts - acknowledged.len();
    println!("{aborted} of {posts} posts were aborted in {} ms", began.elapsed().as_millis());
    assert!(aborted > posts / 2, "only {aborted} were aborted");
    assert!(!acknowledged.is_empty());
    network.set(Fault::None);
    // The server itself ends such a session after five seconds.
    let open = "select from pg_stat_activity where datname = current_database()
                and state like 'idle in transaction%' and state_change < now() - interval '2 seconds'";
    for _ in 0..15 {
        assert_eq!(site.database.count(open).await, 0);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for id in acknowledged.values() {
        process.message(id).await;
    }
    let repeat = |client: Client, key: String| async move { Some(taken(&client, &key, TO).await) };
    let repeated = each(&process.client, posts, repeat).await;
    assert_eq!(repeated.len(), posts);
    for (key, id) in &acknowledged {
        assert_eq!(repeated.get(key), Some(id), "{key}");
    }
    assert_eq!(usize::try_from(site.database.count("select from messages").await).unwrap(), posts);
}

/// Does something for each key, many at once, and gives back what came of those of which something came.
async fn each<F, A>(client: &Client, posts: usize, act: A) -> HashMap<String, String>
where
    A: Fn(Client, String) -> F,
    F: Future<Output = Option<String>> + Send + 'static,
{
    let (places, mut tasks) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for index in 0..posts {
        let place = places.clone().acquire_owned().await.unwrap();
        let key = format!("key-{index}");
        let acting = act(client.clone(), key.clone());
        tasks.spawn(async move {
            let done = acting.await;
            drop(place);
            done.map(|id| (key, id))
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

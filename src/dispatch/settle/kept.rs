//! Applying pushes that were kept and not applied: the database refused it then, or took them out of the spool.

use std::{collections::HashSet, panic::AssertUnwindSafe};

use futures_util::FutureExt as _;
use sqlx::Connection as _;

use super::{Arrival, Reading, apply};
use crate::{
    dispatch::{Engine, Live, log_failure},
    domain::{Timestamp, ids::time_of},
    fail_points::{Step, reach},
    providers::{Callback, CallbackEvent},
    store::{
        Db, StoreError,
        callbacks::{self, CallbackState, StoredCallback},
    },
};

/// How many pushes are applied in one commit.
const AT_ONCE: i64 = 500;

/// Applies pushes that were kept but not applied, many in one commit. For the sweep.
pub(in crate::dispatch) async fn apply_waiting(engine: &Engine) -> Result<usize, StoreError> {
    let (of_task, now) = (engine.clone(), engine.clock().now());
    let (count, next) = Db::unit(&engine.db().work, move |connection| {
        Box::pin(async move {
            let live = of_task.live();
            // What came for a provider that this process does not know waits for one that does.
            let known: Vec<String> = live.providers.keys().cloned().collect();
            let waiting = callbacks::lock_waiting(&mut *connection, &known, AT_ONCE).await?;
            let (count, mut arrivals) = (waiting.len(), Vec::with_capacity(waiting.len()));
            for callback in waiting {
                match read_again(&of_task, &live, &callback) {
                    Ok(events) => arrivals.push(Arrival {
                        provider: callback.provider,
                        callback: None,
                        callback_id: Some(callback.id),
                        events,
                        asked: None,
                        answer: None,
                    }),
                    Err(problem) => {
                        callbacks::mark(&mut *connection, callback.id, CallbackState::Unreadable, Some(&problem))
                            .await?;
                    }
                }
            }
            Ok((count, apply_kept(connection, &live, &arrivals, now).await?))
        })
    })
    .await?;
    engine.live().wake_all(&next);
    Ok(count)
}

/// Applies pushes that are kept under a savepoint; one by one where one of them says what no row can hold, since it must not keep
/// the others back for ever.
async fn apply_kept(
    connection: &mut sqlx::PgConnection,
    live: &Live,
    arrivals: &[Arrival],
    now: Timestamp,
) -> Result<HashSet<String>, StoreError> {
    let ids: Vec<uuid::Uuid> = arrivals.iter().filter_map(|arrival| arrival.callback_id).collect();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let mut savepoint = connection.begin().await?;
    // A push that makes the program panic would do so at every look, and keep back all that come after it.
    let applied = AssertUnwindSafe(apply(&mut savepoint, live, arrivals, Reading::Locked, now)).catch_unwind().await;
    let error = match applied.unwrap_or(Err(StoreError::Panicked)) {
        Ok(next) => {
            callbacks::mark_done(&mut savepoint, &ids).await?;
            reach(Step::KeptPushApplied).await?;
            savepoint.commit().await?;
            return Ok(next);
        }
        Err(error) => error,
    };
    if !error.lies_with_the_data() {
        return Err(error);
    }
    savepoint.rollback().await?;
    if let [_, _, ..] = arrivals {
        let mut next = HashSet::new();
        for arrival in arrivals {
            next.extend(Box::pin(apply_kept(connection, live, std::slice::from_ref(arrival), now)).await?);
        }
        return Ok(next);
    }
    log_failure("callbacks", &error);
    for id in ids {
        let problem = Some("it says what cannot be stored");
        callbacks::mark(&mut *connection, id, CallbackState::Unreadable, problem).await?;
    }
    Ok(HashSet::new())
}

fn read_again(engine: &Engine, live: &Live, callback: &StoredCallback) -> Result<Vec<CallbackEvent>, String> {
    let provider = live.providers.get(&callback.provider).ok_or("the provider is not configured")?;
    let body = engine.secrets().open(&callback.body, callback.id.as_bytes()).map_err(|error| error.to_string())?;
    let push = Callback {
        headers: callback.headers.clone(),
        path_and_query: callback.path.clone(),
        body: body.into(),
        call_reference: callback.call_reference.clone(),
        received_at: time_of(callback.id),
    };
    provider.driver.parse_callback(&push).map_err(|error| error.to_string())
}

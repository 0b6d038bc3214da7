//! Two things that happen to one message at the same moment, and data that no row can hold: nothing else is lost by either.

use std::str::FromStr;

use serde_json::json;
use sms_gateway::{
    clock::Clock,
    simulator::{Behaviour, ScriptedReport},
    store::{Db, maintenance},
};
use sqlx::{Row, postgres::PgConnectOptions};

use crate::{
    crash::{HUAWEI, NX},
    support::{
        TestDatabase,
        carriers::{attempts, form, nx_receipt},
        gateway::{SHOP, string},
        process::{self, Site, eventually},
    },
};

const TO: &str = "+8618637616887";
const OTHER: &str = "+8618637616888";

fn silent() -> Behaviour {
    Behaviour { reports: Some(Vec::new()), ..Behaviour::default() }
}

async fn nx_site() -> Site {
    Site::new(&format!("{NX}[routes.sms]\nsteps = [{{ provider = \"nx\" }}]")).await
}

#[tokio::test]
async fn an_answer_that_comes_while_its_report_is_applied_does_not_undo_what_the_report_led_to() {
    let route = "[routes.sms]\nfailover = \"on_undelivered\"\nsteps = [{ provider = \"hw\" }, { provider = \"nx\" }]";
    // After this report only a code goes on to the next provider.
    let huawei = HUAWEI.replace("transactional", "otp");
    let site = Site::new(&format!("{NX}{huawei}{route}")).await;
    let process = site.start().await;
    let mut brake = site.hold_commits("update on queue", "old.step = 0 and new.step = 1").await;
    let lost = ScriptedReport { delay_ms: Some(20), ..ScriptedReport::new("undelivered") };
    site.simulator.next_for(TO, Behaviour { reports: Some(vec![lost]), answer_delay_ms: 400, ..Behaviour::default() });
    site.simulator.next_for(TO, silent());
    let body = json!({ "to": TO, "template": { "name": "parcel", "params": { "place": "the gate" } } });
    let answer = process.client.post(SHOP, "/v1/messages", &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    brake.reached("commit").await;
    brake.reached("update messages").await;
    brake.release().await;
    let message = process.wait_for_status(string(&answer.json["id"]), "sent").await;
    assert_eq!(attempts(&message), ["hw undelivered", "nx sent"]);
}

#[tokio::test]
async fn a_push_that_says_what_no_row_can_hold_keeps_no_other_back() {
    let site = nx_site().await;
    let mut process = site.start().await;
    site.simulator.next_for(TO, silent());
    let id = process.text(TO, "hello").await;
    let message = process.wait_for_status(&id, "sent").await;
    let refused =
        form(&[("messageId", "mo-1"), ("toPhone", "8615088888888"), ("fromPhone", "8618637616887"), ("content", "hi")]);
    site.run(
        "create function refuse() returns trigger language plpgsql as
             $$ begin raise exception 'no' using errcode = '22000'; end $$;
         create trigger refuse before insert on inbound_messages for each row execute function refuse()",
    )
    .await;
    // Neither can be applied now; both are applied by the sweep, the bad one first.
    let brake = site.hold_table("reports, inbound_messages").await;
    assert_eq!(process.push_receipt(refused).await, Some(200));
    let receipt = nx_receipt(string(&message["provider_message_id"]), TO, "DELIVRD");
    assert_eq!(process.push_receipt(receipt).await, Some(200));
    process.kill();
    brake.release().await;
    let process = site.start().await;
    process.wait_for_status(&id, "delivered").await;
    site.until_rows("select from callbacks where state = 'unreadable' and problem is not null", 1).await;
    assert_eq!(site.database.count("select from callbacks where state = 'waiting'").await, 0);
}

#[tokio::test]
async fn a_push_with_a_nul_in_it_is_read_without() {
    let site = nx_site().await;
    let process = site.start().await;
    site.simulator.next_for(TO, silent());
    let id = process.text(TO, "hello").await;
    let native = string(&process.wait_for_status(&id, "sent").await["provider_message_id"]).to_owned();
    assert_eq!(process.push_receipt(nx_receipt(&native, TO, "DELIV\0RD")).await, Some(200));
    process.wait_for_status(&id, "delivered").await;
}

#[tokio::test]
async fn an_answer_that_no_row_can_hold_spoils_only_its_own_message() {
    let site = nx_site().await;
    site.run(
        "create function refuse() returns trigger language plpgsql as
             $$ begin raise exception 'no' using errcode = '22000'; end $$;
         create trigger refuse before update on attempts for each row
             when (new.provider_message_id is not null and new.recipient = '+8618637616887') execute function refuse()",
    )
    .await;
    let process = site.start().await;
    // Both answers are written down in one group: the table is held until both are there.
    for to in [TO, OTHER] {
        site.simulator.next_for(to, Behaviour { answer_delay_ms: 300, ..silent() });
    }
    let (bad, good) = tokio::join!(process.text(TO, "bad"), process.text(OTHER, "good"));
    eventually("the carrier has both", async || (site.simulator.accepted().len() == 2).then_some(())).await;
    process.wait_for_status(&good, "sent").await;
    site.let_leases_run_out().await;
    process.wait_for_status(&bad, "unknown").await;
    let next = process.text(OTHER, "next").await;
    process.wait_for_status(&next, "sent").await;
}

#[tokio::test]
async fn a_paused_provider_stays_paused_over_a_restart() {
    let site = nx_site().await;
    let mut process = site.start().await;
    site.run("insert into provider_switches (provider, enabled, changed_at) values ('nx', false, now())").await;
    process.kill();
    let process = site.start().await;
    for number in 0..20 {
        process::post(&process.client, &number.to_string(), TO, &number.to_string()).await.unwrap();
    }
    let mut process = process;
    process.kill();
    let process = site.start().await;
    assert_eq!(site.database.count("select from attempts").await, 0);
    site.run("update provider_switches set enabled = true").await;
    site.until_rows("select from messages where status = 'sent'", 20).await;
    drop(process);
}

#[tokio::test]
async fn a_slow_disk_does_not_keep_the_days_tables_from_being_made() {
    let database = TestDatabase::create().await;
    let db = Db::open(PgConnectOptions::from_str(database.url()).unwrap(), 8);
    let far_ahead = Clock::system().now() + chrono::TimeDelta::days(400);
    let limits = Db::unit(&db.work, move |connection| {
        Box::pin(async move {
            maintenance::ensure_partitions(&mut *connection, far_ahead).await?;
            let limits = "select current_setting('statement_timeout') || ' ' || current_setting('lock_timeout')";
            Ok(sqlx::raw_sql(limits).fetch_one(connection).await?.try_get::<String, _>(0)?)
        })
    });
    assert_eq!(limits.await.unwrap(), "2min 2s");
}

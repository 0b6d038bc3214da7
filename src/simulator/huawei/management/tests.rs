//! Tokens, refusals and what only the control can do; what each call does to the records is tried through the gateway.

use std::time::Duration;

use serde_json::{Value, json};

use crate::simulator::testing::{Bench, JSON, bench};

const BASE: &str = "/v2/845ada5bc7444f1295cd517af0123da1/msgsms";

fn credentials(password: &str, project: Option<&str>) -> Value {
    let user = json!({ "name": "simulator", "password": password, "domain": { "name": "simulator" } });
    let mut auth = json!({ "identity": { "methods": ["password"], "password": { "user": user } } });
    auth["scope"] = match project {
        Some(project) => json!({ "project": { "name": project } }),
        None => json!({ "domain": { "name": "simulator" } }),
    };
    json!({ "auth": auth })
}

impl Bench {
    async fn log_in(&self, credentials: &Value) -> (u16, String) {
        let answer = self.post("/v3/auth/tokens", &[("content-type", JSON)], &credentials.to_string()).await.unwrap();
        let token = answer.headers.get("x-subject-token").map(|token| token.to_str().unwrap().to_owned());
        (answer.status, token.unwrap_or_default())
    }

    async fn ask(&self, token: &str, path: &str) -> (u16, Value) {
        let request = self.http.get(format!("{}{path}", self.simulator.base_url())).header("x-auth-token", token);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
    }
}

#[tokio::test]
async fn only_the_right_credentials_get_a_token() {
    let bench = bench(|_| {}).await;
    for (credentials, status) in [
        (json!({}), 400),
        (credentials("wrong", Some("ap-southeast-1")), 401),
        (credentials("simulator-pass", Some("cn-north-1")), 401),
        (credentials("simulator-pass", Some("ap-southeast-1")), 201),
    ] {
        let (answered, token) = bench.log_in(&credentials).await;
        assert_eq!((answered, token.is_empty()), (status, status != 201));
    }
    assert_eq!(bench.simulator.logins(), 1);
}

#[tokio::test]
async fn a_token_holds_for_its_project_and_its_time() {
    let bench = bench(|_| {}).await;
    let (_, token) = bench.log_in(&credentials("simulator-pass", Some("ap-southeast-1"))).await;
    assert_eq!(bench.ask(&token, &format!("{BASE}/country")).await.0, 200);
    assert_eq!(bench.ask("another", &format!("{BASE}/country")).await.0, 401);
    assert_eq!(bench.ask(&token, "/v2/another/msgsms/country").await.0, 403);
    let (_, whole) = bench.log_in(&credentials("simulator-pass", None)).await;
    assert_eq!(bench.ask(&whole, &format!("{BASE}/country")).await.0, 403, "a token of the whole account");
    bench.clock.advance(Duration::from_hours(24));
    let (status, body) = bench.ask(&token, &format!("{BASE}/country")).await;
    assert_eq!((status, &body["error_code"]), (401, &json!("APIGW.0301")));
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_its_code() {
    let bench = bench(|_| {}).await;
    let (_, token) = bench.log_in(&credentials("simulator-pass", Some("ap-southeast-1"))).await;
    for (path, status, code) in [
        ("apps?limit=x", 400, "MSGSMS.0002"),
        ("apps?sort_key=name", 400, "MSGSMS.0002"),
        ("apps-count", 400, "MSGSMS.0002"),
        ("apps/1", 404, "MSGSMS.0014"),
        ("signatures/1", 404, "MSGSMS.0005"),
        ("templates/1", 404, "MSGSMS.0009"),
        ("upload-files?file_id=1", 404, "MSGSMS.0011"),
        ("templates/1/variable", 404, "APIGW.0101"),
        ("nothing", 404, "APIGW.0101"),
    ] {
        let (answered, body) = bench.ask(&token, &format!("{BASE}/{path}")).await;
        assert_eq!((answered, body["error_code"].as_str()), (status, Some(code)), "{path}");
    }
}

#[tokio::test]
async fn reviews_fates_and_tokens_are_in_the_hands_of_the_control() {
    let bench = bench(|_| {}).await;
    let (_, token) = bench.log_in(&credentials("simulator-pass", Some("ap-southeast-1"))).await;
    let headers = [("content-type", JSON), ("x-auth-token", token.as_str())];
    let app = json!({ "app_name": "shop", "region": "intl" }).to_string();
    let made = bench.post(&format!("{BASE}/apps"), &headers, &app).await.unwrap().json();
    let review = json!({ "id": made["id"], "status": "LAUNCHED" }).to_string();
    let control = |path: &str| format!("/_control/management/{path}");
    assert_eq!(bench.post(&control("review"), &headers, &review).await.unwrap().status, 204);
    let nothing = json!({ "id": "none", "status": "LAUNCHED" }).to_string();
    assert_eq!(bench.post(&control("review"), &headers, &nothing).await.unwrap().status, 422);
    assert_eq!(bench.ask(&token, &format!("{BASE}/apps")).await.1["results"][0]["status"], "LAUNCHED");

    let fate = json!({ "behaviour": { "http_status": 503 } }).to_string();
    bench.post(&control("fate"), &headers, &fate).await.unwrap();
    let spoiled = bench.post(&format!("{BASE}/apps"), &headers, &app).await.unwrap();
    assert_eq!(spoiled.status, 503);
    assert_eq!(bench.ask(&token, &format!("{BASE}/apps")).await.1["total"], 1, "what fails is not done");
    bench.post(&control("revoke"), &headers, "").await.unwrap();
    assert_eq!(bench.ask(&token, &format!("{BASE}/apps")).await.0, 401);
    let (_, seen) = bench.ask("", "/_control/management").await;
    assert_eq!((&seen["logins"], seen["calls"].as_array().unwrap().len()), (&json!(1), 6));
}

//! The sandbox's test numbers, from the POST to the end that the number asks for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    TestGateway,
    gateway::{SHOP_TEST, string},
};

/// What a gateway has that nobody configured, with this harness's apps.
const TWO_SANDBOXES: &str = r#"
[providers.sandbox_backup]
driver = "sandbox"
[routes.everything]
steps = [{ provider = "sandbox" }, { provider = "sandbox_backup" }]
"#;

fn error(message: &Value) -> (&str, &str) {
    (string(&message["error"]["code"]), string(&message["error"]["provider_code"]))
}

#[tokio::test]
async fn number_1_is_delivered() {
    let gateway = TestGateway::start(TWO_SANDBOXES).await;
    let id = gateway.text("+99900000001", "hello").await;
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!(message["attempts"].as_array().unwrap().len(), 1);
}

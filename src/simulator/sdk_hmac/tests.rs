//! The published examples, and each way to get a signature wrong.

use super::*;

struct Example {
    method: &'static str,
    path: &'static str,
    query: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    access: &'static str,
    secret: &'static str,
    signed: &'static str,
    signature: &'static str,
}

const DOC_GET: Example = Example {
    method: "GET",
    path: "/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs",
    query: "limit=2&marker=13551d6b-755d-4757-b956-536f674975c0",
    headers: &[
        ("content-type", "application/json"),
        ("host", "service.region.example.com"),
        ("x-sdk-date", "20191115T033655Z"),
    ],
    body: "",
    access: "QTWAOYTTINDUT2QVKYUC",
    secret: "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc",
    signed: "content-type;host;x-sdk-date",
    signature: "7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe",
};

const GO_POST: Example = Example {
    method: "POST",
    path: "/path",
    query: "key=value",
    headers: &[("x-sdk-date", "20060102T150405Z")],
    body: "{\"Name\":\"test\",\"Id\":1}\n",
    access: "AccessKey",
    secret: "SecretKey",
    signed: "x-sdk-date",
    signature: "cecc2af119b18ab70b4d094c0750f3b42c02f254903179a0fc2cc72fc9db4f59",
};

const EXAMPLES: [Example; 6] = [
    DOC_GET,
    Example {
        access: "AccessKey",
        secret: "SecretKey",
        headers: &[("host", "service.region.example.com"), ("x-sdk-date", "20191115T033655Z")],
        signed: "host;x-sdk-date",
        signature: "fd95e7da6f695cfb4cabbb9d6b0968aec155bc576b064835282473539ae9ea1d",
        ..DOC_GET
    },
    Example {
        method: "POST",
        path: "/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpc/123",
        query: "",
        access: "AccessKey",
        secret: "SecretKey",
        headers: &[("host", "service.region.example.com"), ("x-sdk-date", "20191115T033655Z")],
        body: "{\"key\":\"value\"}",
        signed: "host;x-sdk-date",
        signature: "b5649aa774f6cac7437631662f08815fc65c70e40e486df6db2436ce68902771",
    },
    Example {
        method: "GET",
        path: "",
        query: "",
        access: "AccessKey",
        secret: "SecretKey",
        headers: &[("host", "example.com"), ("x-sdk-date", "20191115T033655Z")],
        body: "",
        signed: "host;x-sdk-date",
        signature: "919ad8b75d4ad49da0d377e63ee21c4a7a54b752f6bf2878b4adbe9c19927da6",
    },
    Example {
        method: "GET",
        query: "limit=1",
        body: "",
        signature: "5a2ce64c865e0e6046321c6f3d5a77ba8413eeaf355c3166c03d58d02ac79624",
        ..GO_POST
    },
    GO_POST,
];

fn authorization(example: &Example) -> String {
    format!(
        "SDK-HMAC-SHA256 Access={}, SignedHeaders={}, Signature={}",
        example.access, example.signed, example.signature
    )
}

fn headers_of(example: &Example) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in example.headers {
        headers.insert(*name, value.parse().unwrap());
    }
    headers.insert("authorization", authorization(example).parse().unwrap());
    headers
}

fn check(example: &Example, headers: &HeaderMap, body: &str, seconds_later: i64) -> Result<(), Refused> {
    let date = example.headers.iter().find(|(name, _)| *name == "x-sdk-date").unwrap().1;
    let now = NaiveDateTime::parse_from_str(date, DATE_FORMAT).unwrap().and_utc();
    let now = now + chrono::TimeDelta::seconds(seconds_later);
    let (method, path, query) = (example.method, example.path, example.query);
    let request = Received { method, path, query, headers, body: body.as_bytes() };
    verify(request, now, |access| (access == example.access).then_some(example.secret))
}

#[test]
fn the_published_examples_are_taken() {
    for example in &EXAMPLES {
        let name = (example.path, example.signature);
        assert_eq!(check(example, &headers_of(example), example.body, 0), Ok(()), "{name:?}");
    }
}

#[test]
fn a_changed_body_path_header_or_signature_is_refused() {
    let headers = headers_of(&GO_POST);
    let mismatch = |result| matches!(result, Err(Refused::Mismatch(_)));
    assert!(mismatch(check(&GO_POST, &headers, "{}", 0)));
    assert!(mismatch(check(&Example { path: "/other", ..GO_POST }, &headers, GO_POST.body, 0)));
    assert!(mismatch(check(&Example { query: "key=other", ..GO_POST }, &headers, GO_POST.body, 0)));
    let upper = authorization(&GO_POST).replace("cecc2af1", "CECC2AF1");
    let mut spoiled = headers.clone();
    spoiled.insert("authorization", upper.parse().unwrap());
    assert!(mismatch(check(&GO_POST, &spoiled, GO_POST.body, 0)));
    let mut spoiled = headers_of(&DOC_GET);
    spoiled.insert("host", "service.region.example.com:443".parse().unwrap());
    assert!(mismatch(check(&DOC_GET, &spoiled, "", 0)));
}

#[test]
fn a_date_holds_for_a_quarter_of_an_hour_either_way() {
    for (later, expected) in
        [(900, Ok(())), (901, Err(Refused::Expired)), (-900, Ok(())), (-901, Err(Refused::Expired))]
    {
        assert_eq!(check(&GO_POST, &headers_of(&GO_POST), GO_POST.body, later), expected, "{later}");
    }
}

#[test]
fn malformed_authorizations_are_refused() {
    let good = authorization(&GO_POST);
    let spoiled = [
        good.replace("SDK-HMAC-SHA256 ", "SDK-HMAC-SHA256"),
        good.replace("Access=AccessKey, ", ""),
        good.replace("Signature=", "Signature=\""),
        good.replace("SignedHeaders=x-sdk-date", "SignedHeaders=X-Sdk-Date"),
        good.replace("SignedHeaders=x-sdk-date", "SignedHeaders=x-sdk-date;host"),
        good.replace("SignedHeaders=x-sdk-date", "SignedHeaders=accept;x-sdk-date"),
    ];
    for authorization in spoiled {
        let mut headers = headers_of(&GO_POST);
        headers.insert("authorization", authorization.parse().unwrap());
        let result = check(&GO_POST, &headers, GO_POST.body, 0);
        assert!(matches!(result, Err(Refused::Malformed(_))), "{authorization}: {result:?}");
    }
}

#[test]
fn quotes_become_part_of_the_access_key() {
    let quoted = authorization(&GO_POST).replace("Access=AccessKey", "Access=\"AccessKey\"");
    let mut headers = headers_of(&GO_POST);
    headers.insert("authorization", quoted.parse().unwrap());
    assert_eq!(check(&GO_POST, &headers, GO_POST.body, 0), Err(Refused::UnknownKey));
}

#[test]
fn the_date_must_be_there_signed_and_well_formed() {
    let mut headers = headers_of(&DOC_GET);
    let unsigned = authorization(&DOC_GET).replace(";x-sdk-date", "");
    headers.insert("authorization", unsigned.parse().unwrap());
    assert_eq!(check(&DOC_GET, &headers, "", 0), Err(Refused::Malformed("X-Sdk-Date is not signed")));
    headers.remove("x-sdk-date");
    assert_eq!(check(&DOC_GET, &headers, "", 0), Err(Refused::Malformed("X-Sdk-Date is missing")));
    headers.insert("x-sdk-date", "2019-11-15T03:36:55Z".parse().unwrap());
    assert!(matches!(check(&DOC_GET, &headers, "", 0), Err(Refused::Malformed(_))));
}

#[test]
fn a_stated_body_hash_must_be_true_or_openly_unsigned() {
    let mut headers = headers_of(&GO_POST);
    headers.insert("x-sdk-content-sha256", "0000".parse().unwrap());
    assert!(matches!(check(&GO_POST, &headers, GO_POST.body, 0), Err(Refused::Malformed(_))));
    headers.insert("x-sdk-content-sha256", UNSIGNED_PAYLOAD.parse().unwrap());
    assert!(matches!(check(&GO_POST, &headers, GO_POST.body, 0), Err(Refused::Malformed(_))));

    let signed = [("x-sdk-content-sha256", UNSIGNED_PAYLOAD), ("x-sdk-date", "20060102T150405Z")];
    let canonical = canonical_request("POST", "/path", "key=value", &signed, UNSIGNED_PAYLOAD);
    let signature = signature("SecretKey", "20060102T150405Z", &canonical);
    let authorization = format!(
        "SDK-HMAC-SHA256 Access=AccessKey, SignedHeaders=x-sdk-content-sha256;x-sdk-date, Signature={signature}"
    );
    headers.insert("authorization", authorization.parse().unwrap());
    assert_eq!(check(&GO_POST, &headers, "any body at all", 0), Ok(()));
}

#[test]
fn queries_are_sorted_and_encoded() {
    assert_eq!(canonical_query("b=2&a=%7e+x&a=&B=1&c"), "B=1&a=&a=~%2Bx&b=2&c=");
    assert_eq!(canonical_path("/a b/%41/ü"), "/a%20b/A/%C3%BC/");
}

#[test]
fn what_we_sign_we_would_take() {
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    let signed = [("host", "127.0.0.1:9330"), ("content-type", "application/x-www-form-urlencoded")];
    let (authorization, date) = sign("ak", "sk", now, "/report", "", &signed, b"a=b");
    let mut headers = HeaderMap::new();
    headers.insert("host", signed[0].1.parse().unwrap());
    headers.insert("content-type", signed[1].1.parse().unwrap());
    headers.insert("x-sdk-date", date.parse().unwrap());
    headers.insert("authorization", authorization.parse().unwrap());
    let request = Received { method: "POST", path: "/report", query: "", headers: &headers, body: b"a=b" };
    assert_eq!(verify(request, now, |access| (access == "ak").then_some("sk")), Ok(()));
}

//! The requests themselves, out of the document and a seed.

use serde_json::Value;

use super::junk::{FIELDS, JUNK, KEYS, METHODS, PARTS, TYPES, VALUES};
use crate::support::gateway::{OPS, SHOP};

/// One request.
pub struct Case {
    /// What is wrong with it.
    pub name: String,
    pub bytes: Vec<u8>,
    /// Nothing more comes after these bytes.
    pub cut: bool,
    pub expected: Expected,
}

/// What has to come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It may even be right by chance.
    Anything,
    /// A problem.
    Refused,
    /// A refusal in a carrier's own words.
    CarrierRefused,
    /// A problem, or the end of the connection: it is not HTTP/1.1 at all.
    Silence,
}

/// A deterministic choice (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % below as u64).unwrap()
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(choices.len())]
    }

    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        (0..self.roll(longest)).map(|_| u8::try_from(self.roll(256)).unwrap()).collect()
    }
}

/// An operation of the document.
struct Operation {
    method: String,
    path: String,
    parameters: Vec<String>,
    has_body: bool,
}

fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(sms_gateway::api::router::document()).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let of_query = parameters.iter().filter(|parameter| parameter["in"] == "query");
            operations.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                parameters: of_query.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect(),
                has_body: operation["requestBody"].is_object(),
            });
        }
    }
    operations
}

fn request(method: &str, target: &str, key: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let key = if key.is_empty() { String::new() } else { format!("authorization: Bearer {key}\r\n") };
    let has_length = !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH");
    let length = if has_length { format!("content-length: {}\r\n", body.len()) } else { String::new() };
    let head = format!("{method} {target} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n{key}{length}");
    [head.as_bytes(), headers.as_bytes(), b"\r\n", body].concat()
}

/// Many of a kind, told apart by a number.
fn numbered(count: usize, before: &str, after: &str) -> String {
    (0..count).map(|number| [before, &number.to_string(), after].concat()).collect()
}

fn case(name: &str, expected: Expected, bytes: Vec<u8>) -> Case {
    Case { name: name.to_owned(), bytes, cut: false, expected }
}

const JSON: &str = "content-type: application/json\r\n";

/// All of them.
pub fn all(seed: u64) -> Vec<Case> {
    let mut dice = Dice(seed);
    let operations = operations();
    let mut cases = Vec::new();
    for operation in &operations {
        addresses(operation, &mut dice, &mut cases);
        methods(operation, &mut dice, &mut cases);
        headers(operation, &mut cases);
        if operation.has_body {
            bodies(operation, &mut dice, &mut cases);
        }
    }
    messages(&mut dice, &mut cases);
    callbacks(&mut dice, &mut cases);
    not_http(&mut dice, &mut cases);
    cases
}

fn filled(path: &str, part: &str) -> String {
    let segments = path.split('/').map(|segment| if segment.starts_with('{') { part } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// A body that is refused by every operation that reads one.
const REFUSED: &[u8] = b"{\"never\":true}";

fn addresses(operation: &Operation, dice: &mut Dice, cases: &mut Vec<Case>) {
    let body: &[u8] = if operation.has_body { REFUSED } else { b"" };
    let expected = if operation.has_body { Expected::Refused } else { Expected::Anything };
    if operation.path.contains('{') {
        for part in PARTS {
            let target = filled(&operation.path, part);
            // Bytes outside ASCII do not belong into an address, yet the library lets them pass.
            cases.push(case(
                "a part of the path",
                expected,
                request(&operation.method, &target, dice.of(&KEYS[..3]), JSON, body),
            ));
        }
        let long = filled(&operation.path, &"x".repeat(3000 + dice.roll(1500)));
        cases.push(case("a long path", expected, request(&operation.method, &long, SHOP, JSON, body)));
    }
    let path = filled(&operation.path, "sandbox");
    for _ in 0..40 {
        let known = operation.parameters.iter().map(String::as_str).chain(["nonsense", "%00", "", "limit", "a[b]"]);
        let names: Vec<&str> = known.collect();
        let pairs: Vec<String> =
            (0..=dice.roll(4)).map(|_| format!("{}={}", dice.of(&names), dice.of(&VALUES))).collect();
        let target = format!("{path}?{}", pairs.join("&").replace(' ', "%20"));
        cases.push(case("a query", expected, request(&operation.method, &target, dice.of(&KEYS[..3]), JSON, body)));
    }
    let target = format!("{path}?{}", "a=b&".repeat(400 + dice.roll(700)));
    cases.push(case("a long query", expected, request(&operation.method, &target, OPS, JSON, body)));
}

fn methods(operation: &Operation, dice: &mut Dice, cases: &mut Vec<Case>) {
    let path = filled(&operation.path, "sandbox");
    for method in METHODS {
        // Whatever else there is at this path reads the body and refuses it, or reads none and may do what it does.
        cases.push(case("a method", Expected::Anything, request(method, &path, dice.of(&KEYS), JSON, REFUSED)));
    }
    for wrong in ["/", "//", "/x/..", "/extra", "%20", "/%2e%2e/%2e%2e/etc/passwd", ";a=b"] {
        let target = format!("{path}{wrong}");
        cases.push(case(
            "no such path",
            Expected::Anything,
            request(&operation.method, &target, dice.of(&KEYS), JSON, REFUSED),
        ));
    }
}

fn headers(operation: &Operation, cases: &mut Vec<Case>) {
    let path = filled(&operation.path, "sandbox");
    let expected = if operation.has_body { Expected::Refused } else { Expected::Anything };
    let body: &[u8] = if operation.has_body { REFUSED } else { b"" };
    for key in KEYS {
        cases.push(case("a key", expected, request(&operation.method, &path, key, JSON, body)));
    }
    for authorization in
        ["", "Bearer", "Bearer ", "Basic c2hvcDp4", "Bearer a b", "bearer\t", "Bearer \u{0}", "\u{ff}", "Digest x"]
    {
        let headers = format!("authorization: {authorization}\r\n{JSON}");
        cases.push(case("an authorization", expected, request(&operation.method, &path, "", &headers, body)));
    }
    for kind in TYPES {
        let headers = format!("content-type: {kind}\r\n");
        cases.push(case("a content type", expected, request(&operation.method, &path, SHOP, &headers, body)));
    }
    for more in [
        "content-encoding: gzip\r\n",
        "idempotency-key: \r\n",
        "idempotency-key: a\r\nidempotency-key: b\r\n",
        "idempotency-key: \u{fc}\r\n",
        "x-request-id: ../../x\r\n",
        "x-forwarded-for: not an address, 1.2.3.4\r\n",
        "accept: text/csv;q=abc\r\n",
        "range: bytes=0-0,5-1\r\n",
        "if-none-match: *\r\n",
        "expect: 200-nothing\r\n",
        "upgrade: h2c\r\nhttp2-settings: x\r\n",
        "cookie: a=\u{1}\r\n",
        "traceparent: 00-ff-ff-ff\r\n",
    ] {
        let headers = format!("{JSON}{more}");
        cases.push(case("a header", expected, request(&operation.method, &path, SHOP, &headers, body)));
    }
    for (size, name) in [(15_000, "nearly too large a head"), (17_000, "too large a head"), (60_000, "a huge head")] {
        let headers = format!("{JSON}x-large: {}\r\n", "x".repeat(size));
        let expected = if size > 16_384 { Expected::Refused } else { expected };
        cases.push(case(name, expected, request(&operation.method, &path, SHOP, &headers, body)));
    }
    let many = numbered(300, "x-", ": y\r\n");
    cases.push(case("many headers", expected, request(&operation.method, &path, SHOP, &many, body)));
    let long = format!("{path}?{}", "x".repeat(70_000));
    cases.push(case("a huge address", Expected::Refused, request(&operation.method, &long, SHOP, JSON, body)));
}

/// Bodies that are wrong for whatever reads JSON.
fn bodies(operation: &Operation, dice: &mut Dice, cases: &mut Vec<Case>) {
    let path = filled(&operation.path, "sandbox");
    let mut push = |name: &str, body: &[u8]| {
        cases.push(case(name, Expected::Refused, request(&operation.method, &path, OPS, JSON, body)));
    };
    push("no body", b"");
    for junk in JUNK {
        push("junk", junk.as_bytes());
        push("junk in a list", format!("[{junk}]").as_bytes());
        push("junk under an unknown name", format!("{{\"nonsense\":{junk}}}").as_bytes());
    }
    for depth in [15, 16, 17, 128, 10_000, 30_000] {
        push("a depth bomb", format!("{}{}", "[".repeat(depth), "]".repeat(depth)).as_bytes());
        push("a depth bomb of objects", format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth)).as_bytes());
        push("an open depth bomb", "[".repeat(depth).as_bytes());
    }
    push("a byte order mark", b"\xef\xbb\xbf{\"never\":1}");
    push("UTF-16", b"\xff\xfe{\x00}\x00");
    push("over the limit", format!("{{\"never\":\"{}\"}}", "x".repeat(64 * 1024)).as_bytes());
    push("far over the limit", &vec![b' '; 2 * 1024 * 1024]);
    push("a list of many", format!("[{}1]", "1,".repeat(30_000)).as_bytes());
    push("many names", format!("{{{}\"z\":1}}", numbered(5000, "\"", "\":1,")).as_bytes());
    push(
        "a long name with many faults",
        format!("{{\"{}\":[{}1]}}", "n".repeat(40_000), "\"\\u0000\",".repeat(2000)).as_bytes(),
    );
    for _ in 0..60 {
        let noise = dice.bytes(400);
        push("noise", &[b"{".as_slice(), &noise].concat());
    }
    framings(&operation.method, &path, cases);
}

/// Lengths and chunks that do not fit.
fn framings(method: &str, path: &str, cases: &mut Vec<Case>) {
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {OPS}\r\n{JSON}");
    for (rest, cut) in [
        ("content-length: 100\r\n\r\n{}", true),
        ("content-length: -1\r\n\r\n{}", false),
        ("content-length: 99999999999999999999\r\n\r\n{}", true),
        ("content-length: 2\r\ncontent-length: 3\r\n\r\n{}", false),
        ("content-length: 2, 3\r\n\r\n{}", false),
        ("content-length: 0x2\r\n\r\n{}", false),
        ("content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", false),
        ("transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", true),
        ("transfer-encoding: chunked\r\n\r\n2\r\n{}", true),
        ("transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}", true),
        ("transfer-encoding: chunked\r\n\r\n2;ext=\"\r\n{}\r\n0\r\n\r\n", false),
        ("transfer-encoding: gzip\r\n\r\n{}", true),
        ("transfer-encoding: chunked, gzip\r\n\r\n{}", true),
        ("transfer-encoding: \u{b}chunked\r\n\r\n0\r\n\r\n", true),
        ("expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}", false),
    ] {
        let bytes = format!("{head}{rest}").into_bytes();
        cases.push(Case { name: "a framing".to_owned(), bytes, cut, expected: Expected::Refused });
    }
}

/// Bodies of a message: one field is wrong, or what is wrong is how they stand together.
fn messages(dice: &mut Dice, cases: &mut Vec<Case>) {
    let mut push = |name: String, body: String, key: &str| {
        cases.push(case(&name, Expected::Refused, request("POST", "/v1/messages", key, JSON, body.as_bytes())));
    };
    let with = |field: &str, value: &str| {
        let content = if field == "template" { "" } else { "\"text\":\"hello\"," };
        let others = [("to", "\"+99900000001\","), ("text", content)];
        let rest: String = others.iter().filter(|(name, _)| *name != field).map(|(_, text)| *text).collect();
        format!("{{{rest}\"{field}\":{value}}}")
    };
    // What is right by chance somewhere: a flag that is true, an empty object of the app's own data.
    let right =
        |field: &str, junk: &str| matches!((field, junk), ("sensitive", "true") | ("metadata", "{}" | "{\"\":\"\"}"));
    for (field, value) in FIELDS {
        for junk in JUNK.into_iter().filter(|junk| !right(field, junk)) {
            push(format!("{field} is {junk}"), with(field, junk), dice.of(&[SHOP, OPS]));
        }
        push(format!("{field} twice"), format!("{{\"{field}\":{value},\"{field}\":{value}}}"), SHOP);
        push(format!("{field} alone"), format!("{{\"{field}\":{value}}}"), SHOP);
        push(format!("{field} is long"), with(field, &format!("\"{}\"", "9".repeat(20_000))), SHOP);
        push(
            format!("{field} has many"),
            with(field, &format!("{{{}\"z\":\"\"}}", numbered(200, "\"k", "\":\"v\","))),
            SHOP,
        );
        push(format!("{field} has a long name"), with(field, &format!("{{\"{}\":\"v\"}}", "n".repeat(9000))), SHOP);
    }
    for to in [
        "+",
        "+0",
        "+1",
        "0361234567",
        "0084361234567",
        "84361234567",
        "+84 36 123 45 67",
        "+8436123456789012345",
        "+٨٤٣٦١٢٣٤٥٦٧",
        "tel:+84361234567",
        "+84361234567;ext=1",
        "+84361234567\\n",
        "+1-800-FLOWERS",
        "\u{202e}+84361234567",
    ] {
        push(format!("to is {to}"), with("to", &format!("\"{to}\"")), SHOP);
    }
    for _ in 0..300 {
        // Two fields of one kind, or one that nobody knows, spoil whatever else stands there.
        let mut fields: Vec<String> = (0..dice.roll(6))
            .map(|_| {
                let (name, value) = dice.of(&FIELDS);
                format!("\"{name}\":{}", if dice.roll(2) == 0 { value } else { dice.of(&JUNK) })
            })
            .collect();
        fields.push("\"unknown\":1".to_owned());
        push("fields at random".to_owned(), format!("{{{}}}", fields.join(",")), SHOP);
    }
    for length in [256, 300, 5000] {
        let headers = format!("{JSON}idempotency-key: {}\r\n", "k".repeat(length));
        let body = with("category", "\"transactional\"");
        cases.push(case(
            "a long key",
            Expected::Refused,
            request("POST", "/v1/messages", SHOP, &headers, body.as_bytes()),
        ));
    }
}

/// Pushes that no carrier made.
fn callbacks(dice: &mut Dice, cases: &mut Vec<Case>) {
    let receipt = "messageId=m1&toPhone=%2B84361234567&fromPhone=%2B8615088888888&smsStatus=0&type=1";
    let report = "smsMsgId=m1&status=DELIVRD&to=%2B8615512345678&extend=call_00000000000000000000000000";
    let call = "call_00000000000000000000000000.0123456789abcdef0123456789abcdef";
    for provider in ["nx", "hw", "sandbox", "none", "%00", "%ff", "..", ""] {
        for token in ["wrong", "", "%00", "%ff", "nx-token%20", "NX-TOKEN", ".", call, "x".repeat(3000).as_str()] {
            let target = format!("/callbacks/{provider}/{token}");
            for body in [receipt, report, "{}", ""] {
                let bytes = request(
                    "POST",
                    &target,
                    "",
                    "content-type: application/x-www-form-urlencoded\r\n",
                    body.as_bytes(),
                );
                cases.push(case("a forged address", Expected::Refused, bytes));
            }
        }
    }
    let forged = [
        "",
        "sign: 0123456789abcdef0123456789abcdef\r\naccessKey: simulator-key\r\naction: dr\r\nbizType: 4\r\nts: 1\r\n",
        "sign: \u{fc}\r\naccessKey: simulator-key\r\naction: mo\r\nbizType: 4\r\nts: 99999999999999999999\r\n",
        "authorization: SDK-HMAC-SHA256 Access=push, SignedHeaders=host, Signature=00\r\nx-sdk-date: 20260101T000000Z\r\n",
        "authorization: SDK-HMAC-SHA256 Access=push, SignedHeaders=, Signature=\r\nx-sdk-date: x\r\n",
        "authorization: SDK-HMAC-SHA256\r\n",
    ];
    for (address, bodies) in
        [("/callbacks/nx/nx-token", [receipt, "{\"messageId\":"]), ("/callbacks/hw/hw-token", [report, "["])]
    {
        for headers in forged {
            for body in bodies {
                cases.push(case(
                    "a forged signature",
                    Expected::CarrierRefused,
                    request("POST", address, "", headers, body.as_bytes()),
                ));
            }
            for _ in 0..20 {
                let noise = dice.bytes(300);
                cases.push(case(
                    "a forged signature over noise",
                    Expected::CarrierRefused,
                    request("POST", address, "", headers, &noise),
                ));
            }
        }
        let large = vec![b'x'; 256 * 1024 + 1];
        cases.push(case("a push over the limit", Expected::CarrierRefused, request("POST", address, "", "", &large)));
        for method in ["GET", "PUT", "DELETE", "BREW"] {
            cases.push(case("a push by another method", Expected::Refused, request(method, address, "", "", b"")));
        }
    }
}

/// What is no request at all.
fn not_http(dice: &mut Dice, cases: &mut Vec<Case>) {
    let mut push = |bytes: Vec<u8>| {
        cases.push(Case { name: "not HTTP".to_owned(), bytes, cut: true, expected: Expected::Silence });
    };
    for text in [
        "\r\n\r\n",
        "GET",
        "GET /healthz",
        "GET /healthz\r\n\r\n",
        "GET /healthz HTTP/0.9\r\n\r\n",
        "GET /healthz HTTP/3.0\r\n\r\n",
        "GET  /healthz HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n: x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\na\u{0}b: c\r\n\r\n",
        "GET /healthz HTTP/1.1\r\na: b\u{0}c\r\n\r\n",
        "GET /healthz HTTP/1.1\r\na: b\r\n c\r\n\r\n",
        "GET /healthz HTTP/1.1\ra: b\r\r",
        "GET /healthz HTTP/1.1\r\nhost : x\r\n\r\n",
        "GET http://[::1 HTTP/1.1\r\n\r\n",
        "GET x HTTP/1.1\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nconnection: close\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}",
        "EHLO gateway\r\n",
        "*1\r\n$4\r\nPING\r\n",
        "GET /\u{fc} HTTP/1.1\r\nconnection: close\r\n\r\n",
        "GET /%GG HTTP/1.1\r\nconnection: close\r\n\r\n",
    ] {
        push(text.as_bytes().to_vec());
    }
    for _ in 0..150 {
        push(dice.bytes(600));
        let noise = dice.bytes(200);
        push([b"GET /healthz HTTP/1.1\r\n".as_slice(), &noise, b"\r\n\r\n"].concat());
        let noise = dice.bytes(60);
        push([b"POST /v1/".as_slice(), &noise, b" HTTP/1.1\r\nconnection: close\r\n\r\n"].concat());
    }
    let value: Value = serde_json::json!({ "to": "+99900000001" });
    push(format!("{value}").into_bytes());
}

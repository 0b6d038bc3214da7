use proptest::prelude::*;

use super::*;

#[test]
fn every_target_has_its_file_for_the_fuzzer() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/targets");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    files.sort();
    names.sort_unstable();
    assert_eq!(files, names);
}

fn all(data: &[u8]) {
    for (_, target) in TARGETS {
        target(data);
    }
}

/// A value that some parser has to do with.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,12}",
        "[+0-9 ]{0,18}",
        "-?[0-9]{1,20}",
        "[-+]?[0-9]{4,6}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}Z?",
        "[{}\\[\\]\",:%&=\\\\u0]{0,10}",
        "[0-9]{1,3},{0,4}[-0-9a-f]{0,40}",
    ]
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "smsMsgId",
        "status",
        "total",
        "sequence",
        "to",
        "extend",
        "updateTime",
        "from",
        "body",
        "createTime",
        "source",
        "messageId",
        "smsStatus",
        "toPhone",
        "fromPhone",
        "type",
        "receiveTime",
        "size",
        "content",
        "code",
        "errorcode",
        "request_id",
        "balance",
        "result",
        "originTo",
        "data",
        "text",
        "template",
        "params",
        "name",
        "send_at",
        "validity_period",
        "metadata",
        "callback_url",
        "limit",
        "cursor",
        "created_after",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_break_a_parser(data in prop::collection::vec(any::<u8>(), 0..300)) {
        all(&data);
    }

    #[test]
    fn no_fields_break_a_parser(how in any::<u8>(), fields in prop::collection::vec((name(), word()), 0..12), list in any::<bool>()) {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
        let object: serde_json::Map<String, serde_json::Value> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        let json = if list {
            serde_json::json!({ "code": "000000", "result": [object], "statusReportList": [object] })
        } else {
            object.into()
        };
        for body in [form, json.to_string(), fields.first().map_or_else(String::new, |(_, value)| value.clone())] {
            all(body.as_bytes());
            all(&[&[how], body.as_bytes()].concat());
        }
    }
}

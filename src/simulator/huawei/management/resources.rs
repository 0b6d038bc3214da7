//! Applications, signatures, templates, files and countries: what each call does to the records.

use serde_json::{Value, json};

use super::{
    Asked, Refusal, World,
    records::{Inner, Record, placeholders},
};

/// Countries with their ids, in English and in Chinese.
const COUNTRIES: &[(u32, &str, &str)] = &[
    (1, "Afghanistan", "阿富汗"),
    (45, "Hong Kong (China)", "中国香港"),
    (98, "Singapore", "新加坡"),
    (203, "Vietnam", "越南"),
];

/// So many applications a region may have.
const MOST_APPS: u64 = 395;

type Answered = Result<(u16, Value), Refusal>;

pub(super) fn answer(world: &World, asked: &Asked<'_>) -> Answered {
    let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
    let spelling = world.settings.load().huawei_variables_path.clone();
    let mut inner = world.management.lock();
    let now = world.now().format("%Y-%m-%d %H:%M:%S").to_string();
    match (asked.method.as_str(), path.as_slice()) {
        ("GET", ["apps"]) => list(asked, &inner.apps, &["app_name", "region", "status"]),
        ("POST", ["apps"]) => create_app(asked, &mut inner, &now),
        ("GET", ["apps-count"]) => count_apps(asked, &inner),
        ("GET", ["apps", id]) => get(&inner.apps, id, no_app),
        ("PUT", ["apps", id]) => update_app(asked, &mut inner, id, &now),
        ("GET", ["signatures"]) => {
            let filters = ["app_name", "signature_id", "signature_name", "signature_type", "status"];
            list(asked, &inner.signatures, &filters)
        }
        ("POST", ["signatures"]) => create_signature(asked, &mut inner, &now),
        ("GET", ["signatures", id]) => get(&inner.signatures, id, no_signature),
        ("PUT", ["signatures", id]) => update_signature(asked, &mut inner, id),
        ("DELETE", ["signatures", id]) => delete(&mut inner.signatures, id, no_signature),
        ("PUT", ["signatures", id, "active"]) => activate(&mut inner, id),
        ("GET", ["upload-files"]) => get_file(asked, &inner),
        ("POST", ["upload-files"]) => upload(asked, &mut inner, &now),
        ("GET", ["country"]) => Ok((200, countries(asked))),
        ("GET", ["templates"]) => {
            let filters = [
                "app_key",
                "app_name",
                "flow_status",
                "has_variable",
                "region",
                "sign_name",
                "template_id",
                "template_name",
                "template_type",
            ];
            list(asked, &inner.templates, &filters)
        }
        ("POST", ["templates"]) => create_template(asked, &mut inner, &now),
        ("GET", ["templates", id]) => get(&inner.templates, id, no_template),
        ("PUT", ["templates", id]) => update_template(asked, &mut inner, id),
        ("DELETE", ["templates", id]) => delete(&mut inner.templates, id, no_template),
        ("GET", ["templates", id, last]) if *last == spelling => variables(&inner, id),
        _ => Err(Refusal::new(404, "APIGW.0101", "The API does not exist or has not been published.")),
    }
}

fn no_app() -> Refusal {
    Refusal::new(404, "MSGSMS.0014", "The application does not exist.")
}

fn no_signature() -> Refusal {
    Refusal::new(404, "MSGSMS.0005", "The signature does not exist.")
}

fn no_template() -> Refusal {
    Refusal::new(404, "MSGSMS.0009", "The template does not exist.")
}

fn by_id<'r>(records: &'r [Record], id: &str) -> Option<&'r Record> {
    records.iter().find(|record| record["id"] == id)
}

fn get(records: &[Record], id: &str, missing: fn() -> Refusal) -> Answered {
    by_id(records, id).map(|record| (200, Value::Object(record.clone()))).ok_or_else(missing)
}

fn delete(records: &mut Vec<Record>, id: &str, missing: fn() -> Refusal) -> Answered {
    let before = records.len();
    records.retain(|record| record["id"] != id);
    if records.len() == before { Err(missing()) } else { Ok((204, Value::Null)) }
}

/// Filters that want the very value, times with both ends, order, and a part of what is left.
fn list(asked: &Asked<'_>, records: &[Record], filters: &[&str]) -> Answered {
    let number = |name: &str, usual: usize| {
        asked.parameter(name).map_or(Ok(usual), str::parse).map_err(|_| Refusal::parameter(name))
    };
    let (offset, limit) = (number("offset", 0)?, number("limit", 10)?);
    let fits = |record: &&Record| {
        let text = |field: &str| record.get(field).and_then(Value::as_str).unwrap_or_default();
        filters.iter().all(|filter| asked.parameter(filter).is_none_or(|wanted| wanted == text(filter)))
            && asked.parameter("start_time").is_none_or(|start| text("create_time") >= start)
            && asked.parameter("end_time").is_none_or(|end| text("create_time") <= end)
    };
    let mut found: Vec<&Record> = records.iter().filter(fits).collect();
    match (asked.parameter("sort_key"), asked.parameter("sort_dir")) {
        (None, None) | (Some("create_time"), Some("asc")) => {}
        (Some("create_time"), Some("desc")) => found.reverse(),
        _ => return Err(Refusal::parameter("sort_key")),
    }
    let total = found.len();
    let results: Vec<&Record> = found.into_iter().skip(offset).take(limit).collect();
    Ok((200, json!({ "results": results, "total": total })))
}

fn text<'b>(body: &'b Record, name: &str) -> Result<&'b str, Refusal> {
    body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or_else(|| Refusal::parameter(name))
}

fn one_of<'b>(body: &'b Record, name: &str, words: &[&str]) -> Result<&'b str, Refusal> {
    text(body, name).ok().filter(|text| words.contains(text)).ok_or_else(|| Refusal::parameter(name))
}

fn new_id() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

fn record(value: Value) -> Record {
    if let Value::Object(record) = value { record } else { Record::new() }
}

fn create_app(asked: &Asked<'_>, inner: &mut Inner, now: &str) -> Answered {
    let body = asked.object()?;
    let (name, region) = (text(&body, "app_name")?, one_of(&body, "region", &["cn", "intl"])?);
    let (id, key) = (new_id(), hex::encode(rand::random::<[u8; 12]>()));
    let mut made = record(json!({
        "id": id, "create_time": now, "update_time": now, "customer_id": "c55c3c4526b2ed7a0213bc9871",
        "developer_account": "simulator_sms", "app_name": name, "app_key": key, "status": "CREATED", "region": region,
        "intl_channel_num": if region == "intl" { "isms100000001" } else { "" }, "enterprise_project_id": "0",
        "protocol": "HTTP", "platform": "NFV",
    }));
    if let Some(address) = body.get("up_link_addr").filter(|_| region == "cn") {
        made.insert("up_link_addr".into(), address.clone());
    }
    inner.apps.push(made);
    let mut answer = json!({ "id": id, "app_key": key, "app_name": name });
    if body.get("show_secret") == Some(&json!(true)) {
        answer["app_secret"] = json!(hex::encode(rand::random::<[u8; 16]>()));
    }
    Ok((201, answer))
}

fn update_app(asked: &Asked<'_>, inner: &mut Inner, id: &str, now: &str) -> Answered {
    let body = asked.object()?;
    let (name, region) = (text(&body, "app_name")?, one_of(&body, "region", &["cn", "intl"])?);
    let app = inner.apps.iter_mut().find(|app| app["id"] == id).ok_or_else(no_app)?;
    app.insert("app_name".into(), name.into());
    app.insert("region".into(), region.into());
    app.insert("update_time".into(), now.into());
    if let Some(address) = body.get("up_link_addr").filter(|_| region == "cn") {
        app.insert("up_link_addr".into(), address.clone());
    }
    Ok((200, json!({ "id": id, "app_key": app["app_key"], "app_name": name })))
}

fn count_apps(asked: &Asked<'_>, inner: &Inner) -> Answered {
    let region = asked.parameter("region").ok_or_else(|| Refusal::parameter("region"))?;
    let used = inner.apps.iter().filter(|app| app["region"] == region).count();
    Ok((200, json!({ "total": MOST_APPS, "used": used })))
}

/// The fields of a signature, if they are right.
fn signature_fields(body: &Record, inner: &Inner) -> Result<Record, Refusal> {
    let app = by_id(&inner.apps, text(body, "app_id")?).ok_or_else(no_app)?;
    let third = text(body, "is_involved_third")?;
    if !third.eq_ignore_ascii_case("yes") && !third.eq_ignore_ascii_case("no") {
        return Err(Refusal::parameter("is_involved_third"));
    }
    let source =
        body.get("signature_source").and_then(|source| source.as_u64().or_else(|| source.as_str()?.parse().ok()));
    let source = source.filter(|source| *source <= 5).ok_or_else(|| Refusal::parameter("signature_source"))?;
    if (1..=4).contains(&source) {
        text(body, "source_title_content")?;
    }
    for field in ["file_id", "power_attorney_fileid"] {
        if let Some(id) = body.get(field).filter(|id| !inner.files.iter().any(|file| file["file_id"] == **id)) {
            return Err(Refusal::new(404, "MSGSMS.0011", format!("The file {id} does not exist.")));
        }
    }
    let copied = |name: &str| body.get(name).cloned().unwrap_or_default();
    Ok(record(json!({
        "signature_name": text(body, "signature_name")?,
        "signature_type": one_of(body, "signature_type", &["VERIFY_CODE_TYPE", "NOTIFY_TYPE", "PROMOTION_TYPE"])?,
        "app_key": app["app_key"], "app_name": app["app_name"], "signature_source": source,
        "is_involved_third": third, "apply_desc": copied("apply_desc"), "file_id": copied("file_id"),
        "power_attorney_file_id": copied("power_attorney_fileid"), "status": "PENDING_REVIEW",
    })))
}

fn create_signature(asked: &Asked<'_>, inner: &mut Inner, now: &str) -> Answered {
    let mut made = signature_fields(&asked.object()?, inner)?;
    let same =
        |known: &Record| ["signature_name", "signature_type", "app_key"].iter().all(|name| known[*name] == made[*name]);
    if inner.signatures.iter().any(same) {
        return Err(Refusal::new(400, "MSGSMS.0006", "A signature of this type and name exists."));
    }
    let answer = json!({ "id": new_id(), "signature_id": new_id(), "signature_name": made["signature_name"] });
    made.extend(record(json!({ "create_time": now, "site": "cn", "signature_usage": "COMMERCIAL" })));
    made.extend(record(answer.clone()));
    inner.signatures.push(made);
    Ok((201, answer))
}

fn update_signature(asked: &Asked<'_>, inner: &mut Inner, id: &str) -> Answered {
    let known = by_id(&inner.signatures, id).ok_or_else(no_signature)?;
    if known["status"] != "REVIEW_NOT_PASS" {
        return Err(Refusal::new(400, "MSGSMS.0007", "Only a rejected signature can be modified."));
    }
    let fields = signature_fields(&asked.object()?, inner)?;
    let known = inner.signatures.iter_mut().find(|known| known["id"] == id).ok_or_else(no_signature)?;
    known.extend(fields);
    Ok((200, json!({ "id": id, "signature_id": known["signature_id"], "signature_name": known["signature_name"] })))
}

fn activate(inner: &mut Inner, id: &str) -> Answered {
    let known = inner.signatures.iter_mut().find(|known| known["id"] == id).ok_or_else(no_signature)?;
    if known["status"] != "TO_BE_ACTIVATED" {
        return Err(Refusal::new(400, "MSGSMS.0130", "Signature status should be to be activated."));
    }
    known.insert("status".into(), "PENDING_ACTIVATE".into());
    Ok((200, Value::Null))
}

/// The fields of a template, if they are right.
fn template_fields(body: &Record, inner: &Inner) -> Result<Record, Refusal> {
    let app = by_id(&inner.apps, text(body, "app_id")?).ok_or_else(no_app)?;
    let region = one_of(body, "region", &["cn", "intl"])?;
    let mut fields = record(json!({
        "template_name": text(body, "template_name")?, "template_content": text(body, "template_content")?,
        "app_key": app["app_key"], "app_name": app["app_name"], "region": region, "flow_status": "Reviewing",
        "template_desc": body.get("template_desc").cloned().unwrap_or_default(), "status": "Normal",
        "universal_template": body.get("universal_template").cloned().unwrap_or(json!(0)), "review_desc": null,
    }));
    if region == "intl" {
        let countries = body.get("send_country").and_then(Value::as_array).filter(|ids| !ids.is_empty());
        let countries = countries.ok_or_else(|| Refusal::parameter("send_country"))?;
        let named = countries.iter().map(|id| COUNTRIES.iter().find(|(known, _, _)| json!(known) == *id));
        let named: Option<Vec<&str>> = named.map(|country| country.map(|(_, name, _)| *name)).collect();
        fields.insert("country_name".into(), named.ok_or_else(|| Refusal::parameter("send_country"))?.join(",").into());
        fields.insert("template_type".into(), "NOTIFY_TYPE".into());
    } else {
        let kind = one_of(body, "template_type", &["VERIFY_CODE_TYPE", "NOTIFY_TYPE", "PROMOTION_TYPE"])?;
        fields.insert("template_type".into(), kind.into());
        let sign = body.get("sign_id").cloned().unwrap_or_default();
        let known = inner.signatures.iter().find(|signature| signature["id"] == sign);
        if known.is_none() && !sign.is_null() {
            return Err(Refusal::new(400, "MSGSMS.0012", "The signature id is invalid."));
        }
        fields.insert("sign_name".into(), known.map(|known| known["signature_name"].clone()).unwrap_or_default());
        fields.insert("sign_id".into(), sign);
        let brackets = body.get("brackets").and_then(Value::as_str).filter(|word| *word == "GB").unwrap_or("CN");
        fields.insert("brackets".into(), brackets.into());
    }
    let variables = !placeholders(text(body, "template_content")?).is_empty();
    fields.insert("has_variable".into(), if variables { "Yes" } else { "No" }.into());
    Ok(fields)
}

fn create_template(asked: &Asked<'_>, inner: &mut Inner, now: &str) -> Answered {
    let mut made = template_fields(&asked.object()?, inner)?;
    let same = |known: &Record| ["template_name", "app_key"].iter().all(|name| known[*name] == made[*name]);
    if inner.templates.iter().any(same) {
        return Err(Refusal::new(400, "MSGSMS.0008", "A template of this name exists."));
    }
    let answer = json!({ "id": new_id(), "template_name": made["template_name"] });
    made.extend(record(json!({ "create_time": now, "template_id": hex::encode(rand::random::<[u8; 16]>()) })));
    made.extend(record(answer.clone()));
    inner.templates.push(made);
    Ok((201, answer))
}

fn update_template(asked: &Asked<'_>, inner: &mut Inner, id: &str) -> Answered {
    let known = by_id(&inner.templates, id).ok_or_else(no_template)?;
    if known["flow_status"] != "Reject" {
        return Err(Refusal::new(400, "MSGSMS.0010", "Only a rejected template can be modified."));
    }
    let fields = template_fields(&asked.object()?, inner)?;
    let known = inner.templates.iter_mut().find(|known| known["id"] == id).ok_or_else(no_template)?;
    known.extend(fields);
    Ok((200, json!({ "id": id, "template_name": known["template_name"] })))
}

fn variables(inner: &Inner, id: &str) -> Answered {
    let template = by_id(&inner.templates, id).ok_or_else(no_template)?;
    let words = placeholders(template["template_content"].as_str().unwrap_or_default());
    let variable = |(index, word): (usize, &String)| {
        let (kind, length) = word.split_once('_').unwrap_or((word, ""));
        let kind = if kind.bytes().all(|byte| byte.is_ascii_digit()) { "TEXT" } else { kind };
        json!({
            "id": 15_003_394 + index, "user_name": null, "temp_name": template["template_name"],
            "variable_index": index + 1, "variable_type": kind, "variable_length": length.parse().unwrap_or(20),
            "variable_desc": "",
        })
    };
    let results: Vec<Value> = words.iter().enumerate().map(variable).collect();
    Ok((200, json!({ "total": results.len(), "results": results })))
}

fn get_file(asked: &Asked<'_>, inner: &Inner) -> Answered {
    let id = asked.parameter("file_id").ok_or_else(|| Refusal::parameter("file_id"))?;
    let file = inner.files.iter().find(|file| file["file_id"] == id);
    let missing = || Refusal::new(404, "MSGSMS.0011", "The file does not exist.");
    file.map(|file| (200, Value::Object(file.clone()))).ok_or_else(missing)
}

/// Takes the first part of the form, which must be called `file`.
fn upload(asked: &Asked<'_>, inner: &mut Inner, now: &str) -> Answered {
    let wrong = || Refusal::parameter("file");
    let boundary = asked.content_type.strip_prefix("multipart/form-data; boundary=").ok_or_else(wrong)?;
    let (head, rest) = split(asked.body, b"\r\n\r\n").ok_or_else(wrong)?;
    let (content, end) = split(rest, format!("\r\n--{boundary}").as_bytes()).ok_or_else(wrong)?;
    let head = std::str::from_utf8(head).map_err(|_| wrong())?;
    if !head.starts_with(&format!("--{boundary}\r\n")) || !head.contains("name=\"file\"") || !end.starts_with(b"--") {
        return Err(wrong());
    }
    let name = head.split("filename=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let id = new_id();
    inner.files.push(record(json!({
        "file_id": id, "file_name": name, "file_size": content.len(), "file_type": 1, "file_ref": 0, "module_type": 2,
        "operator": "c55c3c4526b2ed7a0213bc9871", "update_time": now,
        "file_desc": asked.parameter("file_desc").unwrap_or_default(),
    })));
    Ok((201, json!({ "file_id": id })))
}

fn split<'b>(bytes: &'b [u8], at: &[u8]) -> Option<(&'b [u8], &'b [u8])> {
    let place = bytes.windows(at.len()).position(|window| window == at)?;
    Some((&bytes[..place], &bytes[place + at.len()..]))
}

fn countries(asked: &Asked<'_>) -> Value {
    let (english, chinese) = (asked.parameter("country_name_en"), asked.parameter("country_name_zh"));
    let fits = |(_, en, zh): &&(u32, &str, &str)| {
        english.is_none_or(|wanted| wanted == *en) && chinese.is_none_or(|wanted| wanted == *zh)
    };
    let shown =
        |(id, en, zh): &(u32, &str, &str)| json!({ "country_id": id, "country_name_en": en, "country_name_zh": zh });
    COUNTRIES.iter().filter(fits).map(shown).collect()
}

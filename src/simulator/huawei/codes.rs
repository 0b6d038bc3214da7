//! The documented result codes of the send calls, with their HTTP statuses and messages in short.

/// Codes of a whole call.
const CALL: &[(&str, u16, &str)] = &[
    ("000000", 200, "Success"),
    ("E000000", 400, "System error"),
    ("E000001", 400, "No Authorization in the HTTP header"),
    ("E000002", 400, "No realm in Authorization"),
    ("E000003", 400, "No profile in Authorization"),
    ("E000004", 400, "realm in Authorization must be SDP"),
    ("E000005", 400, "profile in Authorization must be UsernameToken"),
    ("E000006", 400, "type in Authorization must be Appkey"),
    ("E000007", 400, "No type in Authorization"),
    ("E000008", 400, "No WSSE in Authorization"),
    ("E000020", 400, "No X-WSSE in the HTTP header"),
    ("E000021", 400, "No Username in X-WSSE"),
    ("E000022", 400, "No Nonce in X-WSSE"),
    ("E000023", 400, "No Created in X-WSSE"),
    ("E000024", 400, "No PasswordDigest in X-WSSE"),
    ("E000025", 400, "The format of Created is wrong"),
    ("E000026", 400, "No UsernameToken in X-WSSE"),
    ("E000027", 400, "Invalid request"),
    ("E000040", 400, "The value of Content-Type is wrong"),
    ("E000503", 400, "The parameter format is wrong"),
    ("E000510", 400, "Sending failed, see status"),
    ("E000101", 401, "Authentication failed"),
    ("E000102", 401, "Invalid app_key"),
    ("E000103", 401, "The app_key is unavailable"),
    ("E000104", 401, "Invalid app_secret"),
    ("E000105", 401, "Invalid digest"),
    ("E000106", 401, "The app_key may not call this API"),
    ("E000109", 401, "The user is deactivated"),
    ("E000110", 401, "Time limit exceeded"),
    ("E000111", 401, "Wrong username or password"),
    ("E000112", 401, "The user is frozen"),
    ("E000620", 403, "The caller's address is not on the white list"),
    ("E000623", 403, "The limit of messages is reached"),
];

/// Codes that only a single number can have.
const PER_NUMBER: &[&str] = &["E200015", "E200028", "E200029", "E200030", "E200031", "E200033", "E200041"];

/// All of them.
pub(in crate::simulator) fn all() -> impl Iterator<Item = &'static str> {
    CALL.iter().map(|(code, _, _)| *code).chain(PER_NUMBER.iter().copied())
}

/// Whether a code is a number's status and not the call's.
pub(in crate::simulator) fn is_per_number(code: &str) -> bool {
    code.starts_with("E2")
}

/// The HTTP status and the message of a call's code.
pub(super) fn describe(code: &str) -> (u16, &'static str) {
    CALL.iter()
        .find(|(known, _, _)| *known == code)
        .map_or((400, "Undocumented"), |(_, status, message)| (*status, message))
}

/// The number status that a template id stands for, by its last six digits.
pub(super) fn of_template(template_id: &str) -> Option<&'static str> {
    let tail = template_id.get(template_id.len().checked_sub(6)?..)?;
    PER_NUMBER.iter().copied().find(|code| code.trim_start_matches('E') == tail)
}

//! What the answer to a send means: for the whole call, and for each of its recipients.
//!
//! A list of results counts wherever it stands, also beside HTTP 400 and E000510, where the documents say there is none. A
//! number that such a list leaves out may have been taken. A code without a list is about the whole call.

use std::{collections::HashMap, time::Duration};

use super::wire::{self, NumberAnswer, Region};
use crate::{
    domain::{Timestamp, phone_number::PhoneNumber},
    providers::{
        Outcome, ProviderError,
        codes::{CodeTable, Stage, shared},
        http::{Answer, status_error},
    },
};

const ACCEPTED: &str = "000000";
/// The number stands twice in the call: the platform sends once, and the other entry says what became of it.
const REPEATED: &str = "E200041";
const FLOW_CONTROL: &str = "E200015";
const LIMIT_USED_UP: &str = "E000623";

/// The documents say about ten minutes.
const FLOW_CONTROL_WAIT: Duration = Duration::from_mins(10);
const DAY_SECONDS: i64 = 24 * 60 * 60;
/// The mainland's day begins at its own midnight.
const MAINLAND_OFFSET_SECONDS: i64 = 8 * 60 * 60;

/// What is needed to understand an answer.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// This driver's codes.
    pub codes: &'a CodeTable,
    /// How numbers are written, and when the day begins.
    pub region: Region,
    /// When the answer came.
    pub now: Timestamp,
}

impl Reader<'_> {
    /// One outcome for each recipient, in their order; an error if the answer is about the whole call.
    pub fn outcomes(&self, answer: &Answer, recipients: &[&PhoneNumber]) -> Result<Vec<Outcome>, ProviderError> {
        let Some(said) = wire::decode(&answer.body) else {
            return Err(status_error(answer));
        };
        if said.numbers.is_empty() && said.code != ACCEPTED {
            return Err(self.refusal(answer, said.code));
        }
        let mut numbers: HashMap<PhoneNumber, NumberAnswer> = HashMap::with_capacity(said.numbers.len());
        for entry in said.numbers {
            let Some(number) = wire::number(&entry.origin_to, self.region) else { continue };
            let weightier = numbers.get(&number).is_none_or(|kept| weight(&entry) > weight(kept));
            if weightier {
                numbers.insert(number, entry);
            }
        }
        Ok(recipients.iter().map(|to| self.outcome(numbers.remove(to))).collect())
    }

    fn refusal(&self, answer: &Answer, code: String) -> ProviderError {
        let entry = self.codes.lookup(Stage::SendResponse, &code);
        // These APIs refuse with 4xx. Under any other failure the code may come from something in between that did not
        // know what became of the request, so the HTTP status decides.
        let documented = answer.is_success() || (entry.known && (400..500).contains(&answer.status));
        if !documented {
            return ProviderError { provider_code: Some(code), ..status_error(answer) };
        }
        let wait = self.wait(&code).or(answer.retry_after);
        ProviderError::refused(entry, code).with_retry_after(wait)
    }

    fn outcome(&self, said: Option<NumberAnswer>) -> Outcome {
        let Some(said) = said else {
            return Outcome {
                verdict: shared(Stage::PerNumber, "missing_in_result").verdict,
                provider_code: None,
                provider_message_id: None,
                segments: None,
                retry_after: None,
            };
        };
        Outcome {
            verdict: self.codes.lookup(Stage::PerNumber, &said.status).verdict,
            retry_after: self.wait(&said.status),
            provider_code: Some(said.status),
            provider_message_id: said.sms_msg_id,
            segments: said.total,
        }
    }

    fn wait(&self, code: &str) -> Option<Duration> {
        match code {
            FLOW_CONTROL => Some(FLOW_CONTROL_WAIT),
            LIMIT_USED_UP => Some(until_next_day(self.now, self.region)),
            _ => None,
        }
    }
}

/// Of two entries about one number the weightier counts, of equals the first.
fn weight(entry: &NumberAnswer) -> u8 {
    match entry.status.as_str() {
        ACCEPTED => 2,
        REPEATED => 0,
        _ => 1,
    }
}

/// The documents do not say when the day of a limit begins: taken is midnight in China for the mainland, else of UTC. Too
/// early costs one refused call.
fn until_next_day(now: Timestamp, region: Region) -> Duration {
    let offset = match region {
        Region::Mainland => MAINLAND_OFFSET_SECONDS,
        Region::International => 0,
    };
    let left = DAY_SECONDS - (now.timestamp() + offset).rem_euclid(DAY_SECONDS);
    Duration::from_secs(left.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        domain::{error_code::ErrorCode, verdict::NeutralStatus},
        providers::ProviderErrorKind,
    };

    static CODES: LazyLock<CodeTable> = LazyLock::new(|| CodeTable::embedded(include_str!("codes.csv")));

    fn answer(status: u16, body: &Value) -> Answer {
        Answer {
            status,
            headers: reqwest::header::HeaderMap::new(),
            body: body.to_string().into(),
            date: None,
            retry_after: None,
        }
    }

    fn entry(to: &str, status: &str) -> Value {
        json!({"originTo": to, "status": status, "smsMsgId": format!("id-{status}"), "from": "x", "total": 2})
    }

    fn read(status: u16, body: &Value, to: &[&str], region: Region) -> Result<Vec<Outcome>, ProviderError> {
        let numbers: Vec<PhoneNumber> = to.iter().map(|to| PhoneNumber::parse(to).unwrap()).collect();
        let now = "2025-06-30T12:00:00Z".parse().unwrap();
        Reader { codes: &CODES, region, now }.outcomes(&answer(status, body), &numbers.iter().collect::<Vec<_>>())
    }

    /// Status and raw code of each outcome.
    fn brief(outcomes: &[Outcome]) -> Vec<(NeutralStatus, Option<&str>)> {
        outcomes.iter().map(|outcome| (outcome.verdict.status, outcome.provider_code.as_deref())).collect()
    }

    const A: &str = "+8615512345678";
    const B: &str = "+8615512345679";
    const C: &str = "+8615512345680";

    #[test]
    fn each_number_has_its_own_outcome_in_the_order_asked_for() {
        let result = [entry(C, "E200028"), entry(B, "E999999"), entry(A, "000000")];
        let body = json!({"code": "000000", "description": "Success", "result": result});
        let outcomes = read(200, &body, &[A, B, C], Region::International).unwrap();
        assert_eq!(
            brief(&outcomes),
            [
                (NeutralStatus::Sent, Some("000000")),
                (NeutralStatus::Failed, Some("E999999")),
                (NeutralStatus::Failed, Some("E200028")),
            ]
        );
        assert_eq!((outcomes[0].provider_message_id.as_deref(), outcomes[0].segments), (Some("id-000000"), Some(2)));
        assert_eq!(outcomes[1].verdict.error, Some(ErrorCode::ProviderRejected));
        assert_eq!(outcomes[2].verdict.error, Some(ErrorCode::TemplateParamsInvalid));
    }

    #[test]
    fn results_beside_e000510_and_http_400_count_for_each_number() {
        let body = json!({"code": "E000510", "result": [entry(A, "E200015"), entry(B, "000000")]});
        let outcomes = read(400, &body, &[A, B, C], Region::International).unwrap();
        assert_eq!(
            brief(&outcomes),
            [
                (NeutralStatus::Failed, Some("E200015")),
                (NeutralStatus::Sent, Some("000000")),
                (NeutralStatus::Unknown, None)
            ]
        );
        assert_eq!(outcomes[0].retry_after, Some(Duration::from_mins(10)));
        assert!(outcomes[0].verdict.retry_here);
        assert_eq!(outcomes[2].verdict.error, Some(ErrorCode::SubmissionUnconfirmed));
    }

    #[test]
    fn a_taken_call_that_lists_nobody_leaves_everybody_unconfirmed() {
        for body in [json!({"code": "000000"}), json!({"code": "000000", "result": []})] {
            let outcomes = read(200, &body, &[A, B], Region::International).unwrap();
            assert_eq!(brief(&outcomes), [(NeutralStatus::Unknown, None); 2]);
        }
    }

    #[test]
    fn a_repeated_number_never_hides_what_became_of_the_first() {
        for (order, expected) in [
            (["000000", "E200041"], "000000"),
            (["E200041", "000000"], "000000"),
            (["E200041", "E200028"], "E200028"),
            (["E200030", "E200028"], "E200030"),
            (["E200028", "000000"], "000000"),
            (["E200041", "E200041"], "E200041"),
        ] {
            let body = json!({"code": "000000", "result": order.map(|status| entry(A, status))});
            let outcomes = read(200, &body, &[A], Region::International).unwrap();
            assert_eq!(outcomes[0].provider_code.as_deref(), Some(expected), "{order:?}");
        }
    }

    #[test]
    fn a_number_is_recognised_however_the_answer_writes_it() {
        for origin in ["15512345678", "8615512345678", " 8615512345678", "+86 15512345678"] {
            let body = json!({"code": "000000", "result": [entry(origin, "000000")]});
            let outcomes = read(200, &body, &[A], Region::Mainland).unwrap();
            assert_eq!(brief(&outcomes), [(NeutralStatus::Sent, Some("000000"))], "{origin}");
        }
    }

    #[test]
    fn a_code_without_results_is_about_the_whole_call() {
        for (status, code, error) in [
            (400, "E000503", ErrorCode::RequestInvalid),
            (400, "E000510", ErrorCode::ProviderRejected),
            (400, "E000000", ErrorCode::ProviderRejected),
            (401, "E000101", ErrorCode::ProviderAuthFailed),
            (401, "E000103", ErrorCode::AccountSuspended),
            (403, "E000620", ErrorCode::ProviderAccessDenied),
            (200, "E000102", ErrorCode::ProviderAuthFailed),
            (200, "E999999", ErrorCode::ProviderRejected),
        ] {
            let failure =
                read(status, &json!({"code": code, "description": "x"}), &[A], Region::International).unwrap_err();
            assert_eq!(
                (failure.kind, failure.verdict.error),
                (ProviderErrorKind::Refused, Some(error)),
                "{status} {code}"
            );
            assert_eq!(failure.provider_code.as_deref(), Some(code));
        }
    }

    #[test]
    fn a_code_that_no_table_has_leaves_the_http_status_to_decide_and_is_kept() {
        for (status, kind, error) in [
            (401, ProviderErrorKind::Refused, ErrorCode::ProviderAuthFailed),
            (429, ProviderErrorKind::Refused, ErrorCode::ProviderRateLimited),
            (500, ProviderErrorKind::OutcomeUnknown, ErrorCode::SubmissionUnconfirmed),
        ] {
            let failure = read(status, &json!({"code": "E999999"}), &[A], Region::International).unwrap_err();
            assert_eq!((failure.kind, failure.verdict.error), (kind, Some(error)), "{status}");
            assert_eq!(failure.provider_code.as_deref(), Some("E999999"));
        }
    }

    #[test]
    fn a_server_failure_stays_unclear_whatever_code_stands_in_it() {
        let failure = read(502, &json!({"code": "E000000"}), &[A], Region::International).unwrap_err();
        assert_eq!(failure.kind, ProviderErrorKind::OutcomeUnknown);
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_unclear_after_success_and_else_its_status() {
        for (status, kind) in [
            (200, ProviderErrorKind::OutcomeUnknown),
            (404, ProviderErrorKind::Refused),
            (302, ProviderErrorKind::Refused),
            (500, ProviderErrorKind::OutcomeUnknown),
        ] {
            let failure = read(status, &json!("<html>"), &[A], Region::International).unwrap_err();
            assert_eq!(failure.kind, kind, "{status}");
        }
    }

    #[test]
    fn a_used_up_limit_waits_for_the_next_day_of_its_region() {
        let body = json!({"code": "E000623"});
        for (region, hours) in [(Region::International, 12), (Region::Mainland, 4)] {
            let failure = read(403, &body, &[A], region).unwrap_err();
            assert_eq!(failure.retry_after, Some(Duration::from_secs(hours * 3600)), "{region:?}");
            assert_eq!(failure.verdict.error, Some(ErrorCode::QuotaExceeded));
        }
    }
}

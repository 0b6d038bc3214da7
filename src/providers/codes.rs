//! Code tables: what each provider's codes mean, as data.
//!
//! Each driver has a `codes.csv` beside it, compiled in; `codes.csv` in this folder holds what is the same for all of them
//! (transport failures, HTTP statuses, windows that closed, codes nobody documented). A code is looked up as it stands, then by
//! the longest prefix (a row `MK:xxxx` stands for all that begins with `MK:`), then in the shared table, and last as that
//! table's `unmapped_code`. The tables decide nothing about waiting times: those belong to the driver that knows them.

use std::{collections::HashMap, str::FromStr, sync::LazyLock};

use serde::Deserialize;

use crate::domain::{
    error_code::{ErrorCategory, ErrorCode},
    verdict::{FailoverAllowed, NeutralStatus, Scope, Verdict},
};

static SHARED: LazyLock<CodeTable> = LazyLock::new(|| CodeTable::embedded(include_str!("codes.csv")));

/// Where a code was met. The same code may mean different things at different stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The answer to a send, about the whole call.
    SendResponse,
    /// The answer to a send, about one of its recipients.
    PerNumber,
    /// A delivery report.
    Report,
    /// The answer to a question about a message or the account.
    Poll,
}

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// In neutral words.
    pub verdict: Verdict,
    /// In a few words for people.
    pub meaning: &'a str,
    /// Does a table have the code? If not, this is the row for codes that nobody documented.
    pub known: bool,
}

/// One provider's codes.
#[derive(Debug)]
pub struct CodeTable {
    exact: HashMap<(Stage, String), Row>,
    prefixes: Vec<(Stage, String, Row)>,
}

#[derive(Debug, Clone)]
struct Row {
    verdict: Verdict,
    meaning: String,
}

/// A table that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CodeTableError {
    /// Not the columns, or a stage that does not exist.
    #[error("the table is malformed")]
    Malformed(#[from] csv::Error),
    /// A word that the column does not know.
    #[error("code {code}: {word:?} is no {column}")]
    Word {
        /// The row's code.
        code: String,
        /// Which column.
        column: &'static str,
        /// What stands there.
        word: String,
    },
    /// The same stage and code twice.
    #[error("code {code} stands twice for {stage:?}")]
    Twice {
        /// The stage.
        stage: Stage,
        /// The code.
        code: String,
    },
}

#[derive(Debug, Deserialize)]
struct RawRow {
    stage: Stage,
    code: String,
    meaning: String,
    neutral_status: String,
    neutral_error: String,
    retryable: bool,
    failover_allowed: String,
    blame: String,
    retry_here: bool,
    scope: String,
    /// Only tables that have a code to forbid it for have the column.
    resend_allowed: Option<bool>,
}

/// The row that all providers share, such as `connect_error` or `report_timeout`.
pub fn shared(stage: Stage, code: &str) -> Entry<'static> {
    SHARED.lookup(stage, code)
}

impl CodeTable {
    /// Reads a table from CSV.
    pub fn parse(text: &str) -> Result<Self, CodeTableError> {
        let mut table = Self { exact: HashMap::new(), prefixes: vec![] };
        for raw in csv::Reader::from_reader(text.as_bytes()).deserialize() {
            let raw: RawRow = raw?;
            let verdict = raw.verdict()?;
            let row = Row { verdict, meaning: raw.meaning };
            if let Some(prefix) = raw.code.strip_suffix("xxxx") {
                table.prefixes.push((raw.stage, prefix.to_owned(), row.clone()));
            }
            if table.exact.insert((raw.stage, raw.code.clone()), row).is_some() {
                return Err(CodeTableError::Twice { stage: raw.stage, code: raw.code });
            }
        }
        table.prefixes.sort_by_key(|(_, prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(table)
    }

    /// Reads a table that is compiled in.
    #[expect(clippy::unwrap_used, reason = "the text is part of the program, and a test reads every one of them")]
    pub fn embedded(text: &'static str) -> Self {
        Self::parse(text).unwrap()
    }

    /// What a code means here; never without an answer.
    pub fn lookup(&self, stage: Stage, code: &str) -> Entry<'_> {
        if let Some(row) = self.row(stage, code) {
            return row.entry(true);
        }
        if let Some(row) = SHARED.row(stage, code) {
            return row.entry(true);
        }
        SHARED.unmapped(stage)
    }

    fn row(&self, stage: Stage, code: &str) -> Option<&Row> {
        // The key of the map is owned, and a lookup happens once per provider answer: the copy costs nothing that matters.
        self.exact.get(&(stage, code.to_owned())).or_else(|| {
            self.prefixes.iter().find(|(at, prefix, _)| *at == stage && code.starts_with(prefix)).map(|(_, _, row)| row)
        })
    }

    #[expect(clippy::unwrap_used, reason = "a test sees that the shared table has this row for every stage")]
    fn unmapped(&self, stage: Stage) -> Entry<'_> {
        self.row(stage, "unmapped_code").unwrap().entry(false)
    }
}

impl Row {
    fn entry(&self, known: bool) -> Entry<'_> {
        Entry { verdict: self.verdict, meaning: &self.meaning, known }
    }
}

impl RawRow {
    fn verdict(&self) -> Result<Verdict, CodeTableError> {
        let error = self.optional("neutral_error", &self.neutral_error, |word| ErrorCode::from_str(word).ok())?;
        let category = self.optional("blame", &self.blame, |word| ErrorCategory::from_str(word).ok())?;
        let failover = self.required("failover_allowed", &self.failover_allowed, failover)?;
        let scope = self.optional("scope", &self.scope, scope)?;
        // Rows about the account alone have no status: no message is concerned, and only their error is used.
        let status = self.optional("neutral_status", &self.neutral_status, status)?.unwrap_or(match error {
            Some(_) => NeutralStatus::Failed,
            None => NeutralStatus::Sent,
        });
        Ok(Verdict {
            status,
            error,
            category: category.or(error.map(ErrorCode::category)),
            retryable: self.retryable,
            failover,
            retry_here: self.retry_here,
            resend_allowed: self.resend_allowed.unwrap_or(true),
            scope: scope.unwrap_or(Scope::None),
        })
    }

    fn optional<T>(
        &self,
        column: &'static str,
        word: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, CodeTableError> {
        if word.is_empty() { Ok(None) } else { self.required(column, word, read).map(Some) }
    }

    fn required<T>(
        &self,
        column: &'static str,
        word: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, CodeTableError> {
        read(word).ok_or_else(|| CodeTableError::Word { code: self.code.clone(), column, word: word.to_owned() })
    }
}

fn status(word: &str) -> Option<NeutralStatus> {
    match word {
        "sent" => Some(NeutralStatus::Sent),
        "delivered" => Some(NeutralStatus::Delivered),
        "undelivered" => Some(NeutralStatus::Undelivered),
        "failed" => Some(NeutralStatus::Failed),
        "expired" => Some(NeutralStatus::Expired),
        "unknown" => Some(NeutralStatus::Unknown),
        _ => None,
    }
}

fn failover(word: &str) -> Option<FailoverAllowed> {
    match word {
        "true" => Some(FailoverAllowed::Yes),
        "false" => Some(FailoverAllowed::No),
        "otp" => Some(FailoverAllowed::OtpOnly),
        _ => None,
    }
}

fn scope(word: &str) -> Option<Scope> {
    match word {
        "message" => Some(Scope::Message),
        "recipient" => Some(Scope::Recipient),
        "sender" => Some(Scope::Sender),
        "template" => Some(Scope::Template),
        "destination" => Some(Scope::Destination),
        "network" => Some(Scope::Network),
        "account" => Some(Scope::Account),
        "provider" => Some(Scope::Provider),
        _ => None,
    }
}

/// Every code of a table, one `stage code` a line, sorted; drivers compare it with the list they promise.
#[cfg(test)]
pub fn listing(table: &CodeTable) -> String {
    let mut lines: Vec<String> = table.exact.keys().map(|(stage, code)| format!("{stage:?} {code}")).collect();
    lines.sort();
    lines.join("\n")
}

/// Every code of one stage, sorted.
#[cfg(test)]
pub fn codes_of(table: &CodeTable, stage: Stage) -> Vec<String> {
    let mut codes: Vec<String> =
        table.exact.keys().filter(|(at, _)| *at == stage).map(|(_, code)| code.clone()).collect();
    codes.sort();
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "stage,code,meaning,neutral_status,neutral_error,retryable,failover_allowed,blame,retry_here,scope\n";
    const ALL: &[(&str, &str)] = &[
        ("*", include_str!("codes.csv")),
        ("huawei_sms", include_str!("huawei_sms/codes.csv")),
        ("nxcloud_did", include_str!("nxcloud_did/codes.csv")),
        ("onsms_voice", include_str!("onsms_voice/codes.csv")),
        ("sandbox", include_str!("sandbox/codes.csv")),
    ];

    #[test]
    fn every_row_of_every_table_is_read_and_resolves_to_itself() {
        for (name, text) in ALL {
            let table = CodeTable::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut rows = 0;
            for raw in csv::Reader::from_reader(text.as_bytes()).deserialize() {
                let raw: RawRow = raw.unwrap();
                let entry = table.lookup(raw.stage, &raw.code);
                assert!(entry.known, "{name} {}", raw.code);
                assert_eq!(entry.meaning, raw.meaning, "{name} {}", raw.code);
                assert_eq!(entry.verdict, raw.verdict().unwrap(), "{name} {}", raw.code);
                assert!(!raw.meaning.is_empty(), "{name} {}", raw.code);
                rows += 1;
            }
            assert_eq!(table.exact.len(), rows, "{name}");
            assert!(rows > 5, "{name}");
        }
    }

    #[test]
    fn a_driver_that_is_added_adds_its_table_to_this_list() {
        let listed: Vec<&str> = ALL.iter().map(|(name, _)| *name).filter(|name| *name != "*").collect();
        let drivers: Vec<&str> = crate::providers::DRIVERS.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, drivers);
    }

    #[test]
    fn what_may_be_repeated_here_was_certainly_not_sent() {
        for (name, text) in ALL {
            for ((stage, code), row) in &CodeTable::parse(text).unwrap().exact {
                if row.verdict.retry_here {
                    assert_eq!(row.verdict.status, NeutralStatus::Failed, "{name} {stage:?} {code}");
                }
                if row.verdict.status == NeutralStatus::Unknown {
                    assert_eq!(row.verdict.failover, FailoverAllowed::No, "{name} {stage:?} {code}");
                }
                let no_error = matches!(row.verdict.status, NeutralStatus::Sent | NeutralStatus::Delivered);
                assert_eq!(row.verdict.error.is_none(), no_error, "{name} {stage:?} {code}");
            }
        }
    }

    #[test]
    fn the_longest_prefix_wins_and_an_exact_row_before_it() {
        let text = format!(
            "{HEAD}report,A:xxxx,short,unknown,delivery_unconfirmed,false,false,network,false,network\n\
             report,A:1xxxx,long,undelivered,delivery_failed,false,true,network,false,network\n\
             report,A:15,exact,delivered,,false,false,,false,\n"
        );
        let table = CodeTable::parse(&text).unwrap();
        assert_eq!(table.lookup(Stage::Report, "A:2").meaning, "short");
        assert_eq!(table.lookup(Stage::Report, "A:14").meaning, "long");
        assert_eq!(table.lookup(Stage::Report, "A:15").meaning, "exact");
        assert!(!table.lookup(Stage::Poll, "A:15").known, "another stage is another code");
    }

    #[test]
    fn a_code_that_nobody_documented_has_the_unmapped_row_of_its_stage() {
        let table = CodeTable::parse(HEAD).unwrap();
        for (stage, status, error) in [
            (Stage::SendResponse, NeutralStatus::Failed, Some(ErrorCode::ProviderRejected)),
            (Stage::PerNumber, NeutralStatus::Failed, Some(ErrorCode::ProviderRejected)),
            (Stage::Report, NeutralStatus::Unknown, Some(ErrorCode::DeliveryUnconfirmed)),
            (Stage::Poll, NeutralStatus::Sent, None),
        ] {
            let entry = table.lookup(stage, "never heard of");
            assert!(!entry.known);
            assert_eq!((entry.verdict.status, entry.verdict.error), (status, error), "{stage:?}");
        }
        assert!(table.lookup(Stage::SendResponse, "connect_error").known, "shared rows are found from every table");
    }

    #[test]
    fn a_table_with_a_row_twice_or_a_word_of_its_own_is_refused() {
        let row = "report,X,x,delivered,,false,false,,false,\n";
        assert!(matches!(CodeTable::parse(&format!("{HEAD}{row}{row}")), Err(CodeTableError::Twice { .. })));
        for (good, bad, column) in [
            ("delivered", "arrived", "neutral_status"),
            (",,false", ",bad_luck,false", "neutral_error"),
            ("false,,false,", "maybe,,false,", "failover_allowed"),
            ("false,,false,", "false,us,false,", "blame"),
            ("false,,false,", "false,,false,world", "scope"),
        ] {
            match CodeTable::parse(&format!("{HEAD}{}", row.replace(good, bad))) {
                Err(CodeTableError::Word { column: found, .. }) => assert_eq!(found, column),
                other => panic!("{bad}: {other:?}"),
            }
        }
        assert!(matches!(CodeTable::parse(&format!("{HEAD}mail,X,x")), Err(CodeTableError::Malformed(_))));
    }

    #[test]
    fn the_shared_table_is_complete() {
        assert_eq!(
            listing(&SHARED),
            "PerNumber missing_in_result\nPerNumber unmapped_code\nPoll poll_timeout\nPoll unmapped_code\n\
             Report report_timeout\nReport unmapped_code\nSendResponse connect_error\nSendResponse http_3xx\n\
             SendResponse http_401\nSendResponse http_403\nSendResponse http_404\nSendResponse http_429\n\
             SendResponse http_4xx_other\nSendResponse http_503\nSendResponse http_5xx_other\n\
             SendResponse timeout_or_reset_after_write\nSendResponse unmapped_code\nSendResponse unparseable_2xx"
        );
    }
}

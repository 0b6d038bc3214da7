//! What happens to which number: the sandbox's whole behaviour as one table.
//!
//! The scenario is part of the provider message id, so a report can be made again from the id alone, in any process and after
//! any restart. Nothing is remembered.

/// What the sandbox does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scenario {
    Delivered,
    Unreachable,
    Invalid,
    Unconfirmed,
    Expired,
    RateLimitedOnce,
    RefusedOnce,
    ReportFirst,
    NoMoney,
}

/// The answer to a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// Refused with this code.
    Refused(&'static str),
    /// Taken; this report follows.
    Taken {
        /// The report's code.
        report: &'static str,
        /// Is the report there before the answer?
        report_first: bool,
    },
}

impl Scenario {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Delivered, "delivered"),
        (Self::Unreachable, "unreachable"),
        (Self::Invalid, "invalid"),
        (Self::Unconfirmed, "unconfirmed"),
        (Self::Expired, "expired"),
        (Self::RateLimitedOnce, "rate_limited_once"),
        (Self::RefusedOnce, "refused_once"),
        (Self::ReportFirst, "report_first"),
        (Self::NoMoney, "no_money"),
    ];

    /// The scenario of a number in E.164 form.
    pub(super) fn of_number(number: &str) -> Self {
        match number {
            "+99900000002" => Self::Unreachable,
            "+99900000003" => Self::Invalid,
            "+99900000004" => Self::Unconfirmed,
            "+99900000005" => Self::Expired,
            "+99900000006" => Self::RateLimitedOnce,
            "+99900000007" => Self::RefusedOnce,
            "+99900000008" => Self::ReportFirst,
            "+99900000009" => Self::NoMoney,
            _ => Self::Delivered,
        }
    }

    /// The scenario that a provider message id was made for.
    pub(super) fn of_id(id: &str) -> Option<Self> {
        let name = id.strip_prefix("sbx-")?.split_once('-')?.0;
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(scenario, _)| *scenario)
    }

    /// A provider message id that tells the scenario.
    pub(super) fn id(self, unique: uuid::Uuid) -> String {
        let name = Self::ALL.iter().find(|(scenario, _)| *scenario == self).map_or("delivered", |(_, name)| name);
        format!("sbx-{name}-{unique}")
    }

    /// What is answered to the attempt of this number (from 1) of a message.
    pub(super) fn reply(self, attempt_number: u16) -> Reply {
        let first = attempt_number <= 1;
        match self {
            Self::Invalid => Reply::Refused("number_invalid"),
            Self::NoMoney => Reply::Refused("no_money"),
            Self::RateLimitedOnce if first => Reply::Refused("too_fast"),
            Self::RefusedOnce if first => Reply::Refused("refused"),
            Self::Delivered
            | Self::Unreachable
            | Self::Unconfirmed
            | Self::Expired
            | Self::RateLimitedOnce
            | Self::RefusedOnce
            | Self::ReportFirst => Reply::Taken { report: self.report(), report_first: self == Self::ReportFirst },
        }
    }

    /// The report's code once a message was taken.
    pub(super) fn report(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unconfirmed => "unconfirmed",
            Self::Expired => "expired",
            Self::Delivered
            | Self::Invalid
            | Self::RateLimitedOnce
            | Self::RefusedOnce
            | Self::ReportFirst
            | Self::NoMoney => "delivered",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_number_has_its_scenario() {
        for (last, first, second) in [
            ("1", taken("delivered"), taken("delivered")),
            ("2", taken("unreachable"), taken("unreachable")),
            ("3", Reply::Refused("number_invalid"), Reply::Refused("number_invalid")),
            ("4", taken("unconfirmed"), taken("unconfirmed")),
            ("5", taken("expired"), taken("expired")),
            ("6", Reply::Refused("too_fast"), taken("delivered")),
            ("7", Reply::Refused("refused"), taken("delivered")),
            ("8", report_first(), report_first()),
            ("9", Reply::Refused("no_money"), Reply::Refused("no_money")),
            ("0", taken("delivered"), taken("delivered")),
        ] {
            let scenario = Scenario::of_number(&format!("+9990000000{last}"));
            assert_eq!((scenario.reply(1), scenario.reply(2)), (first, second), "…0{last}");
        }
        assert_eq!(Scenario::of_number("+84901234567"), Scenario::Delivered);
    }

    #[test]
    fn an_id_tells_its_scenario_and_a_foreign_one_none() {
        for (scenario, _) in Scenario::ALL {
            assert_eq!(Scenario::of_id(&scenario.id(uuid::Uuid::nil())), Some(scenario));
        }
        for foreign in ["", "sbx-", "sbx-delivered", "sbx-lost-1", "xyz-delivered-1"] {
            assert_eq!(Scenario::of_id(foreign), None, "{foreign}");
        }
    }

    fn taken(report: &'static str) -> Reply {
        Reply::Taken { report, report_first: false }
    }

    fn report_first() -> Reply {
        Reply::Taken { report: "delivered", report_first: true }
    }
}

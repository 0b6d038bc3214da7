//! Why a message did not arrive: the closed list of neutral codes, whose each is to mend, and a sentence for people.
//!
//! The cause is never a status. Provider codes are mapped to these by each driver's table; the raw code is kept beside it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whose it is to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCategory {
    /// The app: what it asked for cannot be sent.
    Request,
    /// The operator: credentials, money, registrations.
    Account,
    /// The person: the phone or its subscription.
    Recipient,
    /// The carriers between.
    Network,
    /// The provider.
    Provider,
}

macro_rules! error_codes {
    ($($variant:ident $text:literal $category:ident $message:literal $hint:literal;)*) => {
        /// The neutral cause of a failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $(#[doc = $message] $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the documents.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As the API and the database write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Whose it is to mend, where the provider's own table does not say otherwise.
            pub const fn category(self) -> ErrorCategory {
                match self { $(Self::$variant => ErrorCategory::$category,)* }
            }

            /// What happened, in one sentence.
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)* }
            }

            /// What to do about it; empty when there is nothing to do.
            pub const fn hint(self) -> Option<&'static str> {
                let hint = match self { $(Self::$variant => $hint,)* };
                if hint.is_empty() { None } else { Some(hint) }
            }
        }
    };
}

error_codes! {
    InternalError "internal_error" Provider "The gateway failed while it handled this message." "Report the message id to the gateway's operators.";
    RequestInvalid "request_invalid" Request "The provider refused the request's parameters." "Compare sender, template and parameters with what the provider has registered.";
    RecipientInvalid "recipient_invalid" Request "The recipient is not a number that can be sent to." "Write the number in E.164 form and check its length.";
    ContentRejected "content_rejected" Request "The content was refused by a filter." "Remove the words or links that the carrier filters, or register the content.";
    ContentTooLong "content_too_long" Request "The content is longer than the provider takes." "Shorten the text.";
    ContentUnsupported "content_unsupported" Request "No provider of the route can carry this content." "Use a template that is bound to the provider, or another route.";
    TemplateParamsInvalid "template_params_invalid" Request "The template's parameters do not fit its registered variables." "Check number, kind and length of the parameters.";
    DuplicateMessage "duplicate_message" Request "The number stands twice in its batch, or the same content went to it a moment ago." "Name a number once, and do not send it the same content again so soon.";
    TemplateNotApproved "template_not_approved" Account "The provider does not have this template approved and active." "Have the template approved, or bind another one.";
    SenderNotAllowed "sender_not_allowed" Account "The sender may not be used." "Register the sender with the provider, or send from another one.";
    DestinationNotAllowed "destination_not_allowed" Account "The destination is not allowed." "Enable the country for the app or with the provider.";
    ProviderAuthFailed "provider_auth_failed" Account "The provider refused our credentials." "Check keys, secrets and the clock.";
    ProviderAccessDenied "provider_access_denied" Account "The provider denied access." "Check the account's permissions and its list of allowed addresses.";
    ProviderMisconfigured "provider_misconfigured" Account "The provider's configuration is wrong." "Check the provider's address and settings.";
    AccountSuspended "account_suspended" Account "The account with the provider is suspended." "Settle it with the provider.";
    InsufficientBalance "insufficient_balance" Account "The account with the provider has no money left." "Top up the account.";
    QuotaExceeded "quota_exceeded" Account "A sending limit is used up." "Wait for the next period, or have the limit raised.";
    RecipientUnknown "recipient_unknown" Recipient "The number does not exist." "Remove the number.";
    RecipientUnreachable "recipient_unreachable" Recipient "The phone could not be reached." "Try again later.";
    RecipientNoAnswer "recipient_no_answer" Recipient "The call was not answered." "Try again later.";
    RecipientOptedOut "recipient_opted_out" Recipient "The recipient has opted out." "Do not send to this number until it opts in again.";
    RecipientBlocked "recipient_blocked" Recipient "The number is blocked by the carrier or the provider." "Ask the provider why it is blocked.";
    RecipientRateLimited "recipient_rate_limited" Recipient "The number received too many messages." "Try again later.";
    CarrierRejected "carrier_rejected" Network "The carrier rejected the message." "Ask the provider with the provider code.";
    CarrierUnavailable "carrier_unavailable" Network "The carrier could not be reached." "Try again later.";
    DeliveryFailed "delivery_failed" Network "The message was not delivered; the carrier gave no cause." "";
    DeliveryUnconfirmed "delivery_unconfirmed" Network "Whether the message was delivered was never confirmed." "Do not assume either; a late report still settles it.";
    Expired "expired" Network "The message's time ran out." "Send it again if it still matters.";
    NoRoute "no_route" Provider "There is no route to this destination." "Add a route or a provider that reaches it.";
    ProviderRejected "provider_rejected" Provider "The provider refused the message." "Ask the provider with the provider code.";
    ProviderRateLimited "provider_rate_limited" Provider "The provider takes no more at the moment." "Try again later, or lower the rate.";
    ProviderUnavailable "provider_unavailable" Provider "The provider could not be reached or is out of service." "Try again later.";
    SubmissionUnconfirmed "submission_unconfirmed" Provider "Whether the provider took the message was never confirmed." "Do not send it again blindly; a report or a poll still settles it.";
}

/// A text that is none of the codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an error code")]
pub struct UnknownErrorCode(String);

impl FromStr for ErrorCode {
    type Err = UnknownErrorCode;

    fn from_str(text: &str) -> Result<Self, UnknownErrorCode> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text).ok_or_else(|| UnknownErrorCode(text.into()))
    }
}

impl ErrorCategory {
    /// As the API and the code tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Account => "account",
            Self::Recipient => "recipient",
            Self::Network => "network",
            Self::Provider => "provider",
        }
    }
}

impl FromStr for ErrorCategory {
    type Err = UnknownErrorCode;

    fn from_str(text: &str) -> Result<Self, UnknownErrorCode> {
        [Self::Request, Self::Account, Self::Recipient, Self::Network, Self::Provider]
            .into_iter()
            .find(|category| category.as_str() == text)
            .ok_or_else(|| UnknownErrorCode(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_from_its_text_and_its_json() {
        for code in ErrorCode::ALL {
            assert_eq!(code.as_str().parse::<ErrorCode>().as_ref(), Ok(code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
        assert!("nonsense".parse::<ErrorCode>().is_err());
    }
}

//! What a message says, and how it is classed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How it reaches the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A text message.
    Sms,
    /// A call that reads digits.
    Voice,
}

/// The priority class; also what routes match on. Ordered: the first is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A one-time code. Always sensitive.
    Otp,
    /// What a person waits for.
    Transactional,
    /// What a person did not ask for.
    Marketing,
}

macro_rules! text_enum {
    ($name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As the API, the configuration and the database write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::content::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|value| value.as_str() == text)
                    .ok_or_else(|| $crate::domain::content::UnknownWord(text.into()))
            }
        }
    };
}
pub(crate) use text_enum;

/// A text that is none of the words of a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of the known words")]
pub struct UnknownWord(pub String);

text_enum!(Channel { Sms = "sms", Voice = "voice" });
text_enum!(Category { Otp = "otp", Transactional = "transactional", Marketing = "marketing" });

/// The content of one message as it was accepted. What each provider makes of it (bindings) is decided at the call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Content {
    /// The text as rendered; none when only a provider knows the template's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The gateway's own template and the values it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateUse>,
}

/// A template by name, with the values for its params.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateUse {
    /// The template's name in the configuration.
    #[schema(pattern = "^[a-z][a-z0-9_]{0,62}$")]
    pub name: String,
    /// Values by name; a binding puts them in the provider's order.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
}

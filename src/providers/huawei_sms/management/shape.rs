//! A template of theirs in the gateway's terms: `${NUM_6}` becomes `{{number}}`, and what it takes a pattern.

use super::variables::{Kind, Variable, of_template, placeholders};
use crate::{
    domain::registration::ProviderTemplate,
    providers::registrations::{ParamShape, TemplateShape},
};

/// Names are made from kinds, since theirs have none; a number behind tells two of a kind apart.
pub(super) fn of(template: &ProviderTemplate) -> TemplateShape {
    let words = placeholders(&template.text);
    let unknown = Variable { kind: Kind::Other, max: None };
    let variables = of_template(template).unwrap_or_else(|| vec![unknown; words.len()]);
    let names: Vec<String> = (0..variables.len()).map(|index| name(&variables, index)).collect();
    let params = variables.iter().zip(&names).map(|(variable, name)| ParamShape {
        name: name.clone(),
        max_length: variable.max.filter(|_| pattern(*variable).is_none()),
        pattern: pattern(*variable),
    });
    TemplateShape { params: params.collect(), text: text(&template.text, &words, &names) }
}

fn name(variables: &[Variable], index: usize) -> String {
    let word = match variables[index].kind {
        Kind::Number => "number",
        Kind::Text | Kind::PlainText => "text",
        Kind::Date => "date",
        Kind::Time => "time",
        Kind::Url => "url",
        Kind::Phone => "phone",
        Kind::CharDigit => "code",
        Kind::Other => "value",
    };
    let same = variables.iter().filter(|variable| variable.kind == variables[index].kind).count();
    if same == 1 { word.to_owned() } else { format!("{word}_{}", index + 1) }
}

fn pattern(variable: Variable) -> Option<String> {
    let counted = |class: &str| Some(variable.max.map_or(format!("{class}+"), |max| format!("{class}{{1,{max}}}")));
    match variable.kind {
        Kind::Number => counted("[0-9]"),
        Kind::Text => counted("[^{}]"),
        Kind::PlainText => counted("[^.。'<>{}]"),
        Kind::CharDigit => counted("[0-9A-Za-z_]"),
        Kind::Date => Some("[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}".to_owned()),
        Kind::Time => Some("[0-2][0-9]:[0-5][0-9](:[0-5][0-9])?".to_owned()),
        Kind::Url => counted(r"\S"),
        Kind::Phone => Some(r"\+?[0-9-]{0,14}[0-9]".to_owned()),
        Kind::Other => None,
    }
}

/// Each placeholder gives way to the name of its variable.
fn text(original: &str, words: &[&str], names: &[String]) -> String {
    let (mut text, mut rest, mut next) = (String::with_capacity(original.len()), original, 0);
    while let Some((before, after)) = rest.split_once("${") {
        let Some((word, behind)) = after.split_once('}') else { break };
        text.push_str(before);
        // A number may come again and is the same variable; any other placeholder is the next one.
        let repeated =
            words[..next].iter().position(|known| *known == word && word.bytes().all(|b| b.is_ascii_digit()));
        let place = repeated.unwrap_or(next);
        next += usize::from(repeated.is_none());
        if let Some(name) = names.get(place) {
            text.extend(["{{", name.as_str(), "}}"]);
        }
        rest = behind;
    }
    text.push_str(rest);
    text
}

//! `[templates.NAME]`: the gateway's own templates. Their types belong to the domain; here they are read and checked.

use std::collections::BTreeMap;

use regex::Regex;

use super::words;
use crate::{
    domain::{
        content::Category,
        template::{Binding, Param, Template},
    },
    settings::SettingsReader,
};

pub(super) fn read(reader: &mut SettingsReader) -> Template {
    let text = reader.optional_string("text");
    let template = Template {
        text,
        category: reader.word_or("category", Category::Transactional, Category::ALL, Category::as_str),
        validity_period: reader.optional_integer("validity_period", 10..=259_200),
        params: reader.tables("params", read_param),
        bindings: read_bindings(reader),
    };
    check_names(&template, reader);
    if template.text.is_none() && template.bindings.is_empty() {
        reader.problem("text", "is missing, and there is no binding that could do without it");
    }
    template
}

fn read_param(reader: &mut SettingsReader) -> Param {
    let name = reader.required_string("name");
    if !name.is_empty() && !words::is_slug(&name) {
        reader.problem("name", "must be made of a-z, 0-9 and _, a letter first");
    }
    // Anchored here, once: a pattern describes the whole value.
    let pattern = reader.optional_string("pattern").and_then(|pattern| {
        let compiled = Regex::new(&pattern).and_then(|_| Regex::new(&format!("^(?:{pattern})$")));
        if compiled.is_err() {
            reader.problem("pattern", "is not a regular expression");
        }
        compiled.ok()
    });
    Param { name, max_length: reader.optional_integer("max_length", 1..=1600), pattern }
}

fn read_bindings(reader: &mut SettingsReader) -> BTreeMap<String, Binding> {
    let bindings = reader.table("bindings", |bindings| {
        bindings.each_table(|provider, reader| {
            let binding = Binding {
                template_id: reader.optional_string("template_id"),
                params: reader.list("params"),
                signature: reader.optional_string("signature"),
                from: reader.optional_string("from"),
            };
            (provider.to_owned(), binding)
        })
    });
    bindings.unwrap_or_default().into_iter().collect()
}

/// Every name that the text or a binding uses must be a param, and no param may stand twice.
fn check_names(template: &Template, reader: &mut SettingsReader) {
    let names: Vec<&str> = template.params.iter().map(|param| param.name.as_str()).collect();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            reader.problem(&format!("params[{index}].name"), "stands there twice");
        }
    }
    for placeholder in template.text.iter().flat_map(|text| placeholders(text)) {
        if !names.contains(&placeholder) {
            reader.problem("text", format!("uses {{{{{placeholder}}}}}, which is not among the params"));
        }
    }
    for (provider, binding) in &template.bindings {
        for (index, param) in binding.params.iter().enumerate() {
            if !names.contains(&param.as_str()) {
                let key = format!("bindings.{provider}.params[{index}]");
                reader.problem(&key, format!("{param} is not among the template's params"));
            }
        }
    }
}

fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(name, _)| name.trim())
}

//! `[templates.NAME]`: the gateway's own templates. Their types belong to the domain; here they are read and checked.

use std::collections::BTreeMap;

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
    for found in template.problems() {
        // A name that could not be read is a problem already, whatever the template makes of the gap.
        if !reader.has_problem(&found.key) {
            reader.problem(&found.key, found.problem);
        }
    }
    template
}

fn read_param(reader: &mut SettingsReader) -> Param {
    let name = reader.required_string("name");
    let max_length = reader.optional_integer("max_length", 1..=1600);
    let pattern = reader.optional_string("pattern");
    Param::new(name.clone(), max_length, pattern.as_deref()).unwrap_or_else(|_| {
        reader.problem("pattern", "is not a regular expression");
        Param { name, max_length, pattern: None }
    })
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

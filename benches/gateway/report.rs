//! What was measured, and how it is written down: medians, ranges, and each target beside its figure.

use std::fmt::Write as _;

use super::stats::{median, number};

/// What a figure shall be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
    /// Nothing; it explains others.
    None,
}

impl Target {
    fn words(self, unit: &str) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {} {unit}", number(bound)),
            Self::AtMost(bound) => format!("≤ {} {unit}", number(bound)),
            Self::None => String::new(),
        }
    }

    /// Is it met, and if not, how far off is it?
    fn verdict(self, value: f64) -> String {
        let (met, off) = match self {
            Self::None => return String::new(),
            Self::AtLeast(bound) => (value >= bound, 1.0 - value / bound),
            Self::AtMost(bound) => (value <= bound, value / bound - 1.0),
        };
        match (met, off) {
            (true, _) => "met".to_owned(),
            (false, off) if off.is_nan() => "**not measured**".to_owned(),
            (false, off) if off.is_infinite() => "**missed**".to_owned(),
            (false, off) if off > 1.0 => format!("**{:.1} × the bound**", off + 1.0),
            (false, off) => format!("**short by {:.0} %**", off * 100.0),
        }
    }
}

#[derive(Debug)]
struct Line {
    section: &'static str,
    name: String,
    unit: &'static str,
    target: Target,
    samples: Vec<f64>,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<Line>,
    tables: Vec<(&'static str, Vec<Vec<String>>)>,
    notes: Vec<String>,
}

impl Report {
    /// Adds a figure of one round.
    pub fn add(
        &mut self,
        section: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        target: Target,
        value: f64,
    ) {
        let name = name.into();
        eprintln!("  {name}: {} {unit}", number(value));
        match self.lines.iter_mut().find(|line| line.section == section && line.name == name) {
            Some(line) => line.samples.push(value),
            None => self.lines.push(Line { section, name, unit, target, samples: vec![value] }),
        }
    }

    /// Adds a table that stands as it is below the figures.
    pub fn table(&mut self, title: &'static str, head: Vec<String>, rows: Vec<Vec<String>>) {
        let under = head.iter().enumerate().map(|(column, _)| if column == 0 { "---" } else { "---:" }.to_owned());
        let under = under.collect();
        let lines = [head, under].into_iter().chain(rows);
        self.tables.push((title, lines.collect()));
    }

    /// Adds a sentence that stands below the tables, once.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        eprintln!("  note: {text}");
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// The document.
    pub fn text(&self, head: &str) -> String {
        let mut text = head.to_owned();
        let mut section = "";
        for line in &self.lines {
            if line.section != section {
                section = line.section;
                let _ = write!(
                    text,
                    "\n## {section}\n\n| | median | range | target | |\n| --- | ---: | ---: | ---: | --- |\n"
                );
            }
            let (least, most) =
                line.samples.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), sample| {
                    (least.min(*sample), most.max(*sample))
                });
            let middle = median(&line.samples);
            let range =
                if line.samples.len() > 1 { format!("{} – {}", number(least), number(most)) } else { String::new() };
            let (unit, target) = (line.unit, line.target.words(line.unit));
            let name = &line.name;
            let _ = writeln!(
                text,
                "| {name} | {} {unit} | {range} | {target} | {} |",
                number(middle),
                line.target.verdict(middle)
            );
        }
        for (title, lines) in &self.tables {
            let _ = write!(text, "\n## {title}\n\n");
            for line in lines {
                let _ = writeln!(text, "| {} |", line.join(" | "));
            }
        }
        if !self.notes.is_empty() {
            let _ = write!(text, "\n## Notes\n\n");
            for note in &self.notes {
                let _ = writeln!(text, "- {note}");
            }
        }
        text
    }
}

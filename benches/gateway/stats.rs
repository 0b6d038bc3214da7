//! Medians, percentiles and how numbers are written.

/// The value in the middle; of none, not a number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (length, middle) if length % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        (_, middle) => sorted[middle],
    }
}

/// The value that so many of a hundred do not exceed, of sorted ones.
pub fn percentile(sorted: &[u32], percent: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let index = (last as f64 * percent / 100.0).round() as usize;
    sorted.get(index).copied().map_or(f64::NAN, f64::from)
}

/// A number with as many digits as it deserves.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "–".to_owned(),
        size if size >= 1000.0 => {
            let whole = format!("{value:.0}");
            let (front, end) = whole.split_at(whole.len() - 3);
            if front.len() > 3 {
                let (million, thousand) = front.split_at(front.len() - 3);
                return format!("{million},{thousand},{end}");
            }
            format!("{front},{end}")
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

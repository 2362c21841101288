//! Figures, and how they are printed.

/// What can be asked for.
pub(crate) const WORKS: &[&str] = &["W1", "W2", "W3", "W4", "W5", "W6", "W8", "W9"];

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// What was done.
    pub(crate) work: String,
    /// What of it was measured, with its unit.
    pub(crate) unit: &'static str,
    /// Ours, a value a round.
    pub(crate) ours: Vec<f64>,
    /// The floor's; none where there is nothing to hold it against.
    pub(crate) floor: Vec<f64>,
    /// What must hold and what is aimed at, in words of the issue: ratios where there is a floor.
    pub(crate) bounds: &'static str,
    /// What else is known of it: bytes, memory.
    pub(crate) notes: String,
}

impl Figure {
    /// One without notes.
    pub(crate) fn new(work: impl Into<String>, unit: &'static str, bounds: &'static str) -> Self {
        Self { work: work.into(), unit, ours: Vec::new(), floor: Vec::new(), bounds, notes: String::new() }
    }

    /// One that is a single value without a floor.
    pub(crate) fn single(work: impl Into<String>, unit: &'static str, bounds: &'static str, value: f64) -> Self {
        Self { ours: vec![value], ..Self::new(work, unit, bounds) }
    }
}

/// The middle of some values, the mean of the two middle ones of an even number.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// The value below which `share` of the values lie.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (share * (sorted.len() as f64 - 1.0)).round() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// Prints a Markdown table.
pub(crate) fn print(figures: &[Figure], tasks: usize, rounds: usize) {
    println!("\n{tasks} tasks, {rounds} rounds; median (least to most)\n");
    println!("| work | ours | floor | ratio | gate, aim | |\n|---|---|---|---|---|---|");
    for figure in figures {
        let (ours, floor) = (shown(&figure.ours, figure.unit), shown(&figure.floor, figure.unit));
        let ratio = match figure.floor.is_empty() {
            true => String::new(),
            false => format!("**{:.2}**", median(&figure.ours) / median(&figure.floor)),
        };
        println!("| {} | {ours} | {floor} | {ratio} | {} | {} |", figure.work, figure.bounds, figure.notes);
    }
}

fn shown(values: &[f64], unit: &str) -> String {
    let digits = |value: f64| if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
    let (least, most) = (percentile(values, 0.0), percentile(values, 1.0));
    match values.len() {
        0 => String::new(),
        1 => format!("{} {unit}", digits(values[0])),
        _ => format!("{} {unit} ({} to {})", digits(median(values)), digits(least), digits(most)),
    }
}

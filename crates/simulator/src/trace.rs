//! What happened, step by step: a running hash by which two runs are compared, and the lines
//! for people where they are asked for.

/// The trace of a run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps its lines.
    pub fn told() -> Self {
        Self { hash: 0, lines: Some(Vec::new()) }
    }

    /// Whether lines are kept.
    pub fn is_told(&self) -> bool {
        self.lines.is_some()
    }

    /// Notes numbers that a decision depended on.
    pub fn note(&mut self, number: u64) {
        self.hash = (self.hash.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Notes a line.
    pub fn line(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(line());
        }
    }

    /// By what two runs are compared.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, where they are kept.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

//! Why a change of a tenant, or of what belongs to it, did not happen. Input that breaks a
//! rule, a state that does not allow the change, and a store that failed are told apart.

use crate::StoreError;

/// One member of the input that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Where, as a JSON pointer into the request's body: `/adminEmail`.
    pub pointer: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl FieldProblem {
    /// A problem at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// A change that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// The input breaks rules.
    #[error("the input breaks {} rule(s): {}", .0.len(), shown(.0))]
    Invalid(Vec<FieldProblem>),
    /// There is no such thing.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// What was looked for: `tenant`.
        what: &'static str,
        /// Its id, cut to 64 characters.
        id: String,
    },
    /// Another one has the id or the domain.
    #[error("another tenant has the {member} {value:?}")]
    Taken {
        /// `id` or `domain`.
        member: &'static str,
        /// Its value.
        value: String,
    },
    /// It was changed since the caller read it.
    #[error("it was changed meanwhile: the revision is {current}, not {expected}")]
    Revision {
        /// The revision that the caller has.
        expected: i64,
        /// The revision that is stored.
        current: i64,
    },
    /// Its state does not allow the change.
    #[error("{0}")]
    State(String),
    /// It cannot be said yet: the same request may succeed later, with nothing else changed.
    #[error("{0}")]
    NotNow(String),
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TenantError {
    /// One member that breaks a rule.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldProblem::new(pointer, detail)])
    }

    /// There is no `what` with that id.
    pub fn not_found(what: &'static str, id: &str) -> Self {
        Self::NotFound { what, id: id.chars().take(64).collect() }
    }
}

fn shown(problems: &[FieldProblem]) -> String {
    let words = |problem: &FieldProblem| match problem.pointer.as_str() {
        "" => problem.detail.clone(),
        pointer => format!("{pointer}: {}", problem.detail),
    };
    problems.iter().map(words).collect::<Vec<_>>().join("; ")
}

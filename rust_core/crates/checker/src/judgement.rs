//! What a check answers.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use crate::Check;

/// A check's answer. Unknown is never a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The property holds over all of the evidence.
    Valid,
    /// The property is violated; the evidence says where.
    Invalid,
    /// Nobody can tell: evidence is missing or malformed, or the budget ran out.
    Unknown,
    /// The system under test cannot give the evidence that the check needs.
    NotApplicable,
}

/// One check's verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// The check's name.
    pub check: Check,
    /// The answer.
    pub verdict: Verdict,
    /// In words: what was found, or why nothing can be said.
    pub reason: String,
    /// The same as data: operations, records, counts.
    pub evidence: Value,
    /// How an invalid run violated the check, in a few words joined by hyphens that are the same for one cause
    /// under any seed (docs/checks.md, "Signatures"); none for the other verdicts.
    pub shape: Option<Shape>,
}

/// How a check was violated: one of the check's own words, or the text of a panic without its numbers.
pub type Shape = Cow<'static, str>;

impl Judgement {
    pub(crate) fn new(
        check: Check,
        verdict: Verdict,
        reason: impl Into<String>,
        evidence: Value,
    ) -> Judgement {
        Judgement { check, verdict, reason: reason.into(), evidence, shape: None }
    }

    pub(crate) fn valid(check: Check, reason: impl Into<String>, evidence: Value) -> Judgement {
        Judgement::new(check, Verdict::Valid, reason, evidence)
    }

    pub(crate) fn invalid(
        check: Check,
        shape: impl Into<Shape>,
        reason: impl Into<String>,
        evidence: Value,
    ) -> Judgement {
        let shape = shape.into();
        debug_assert!(check.has_shape(&shape), "{} has no shape {shape}", check.name());
        Judgement { shape: Some(shape), ..Judgement::new(check, Verdict::Invalid, reason, evidence) }
    }

    pub(crate) fn unknown(check: Check, reason: impl Into<String>, evidence: Value) -> Judgement {
        Judgement::new(check, Verdict::Unknown, reason, evidence)
    }

    /// The answer of a check that needs a trace and has none.
    pub(crate) fn without_trace(check: Check, system_has_trace: bool) -> Judgement {
        if system_has_trace {
            Judgement::unknown(check, "no trace: the nodes left no record of what they did", json!({}))
        } else {
            Judgement::new(check, Verdict::NotApplicable, "this system writes no trace", json!({}))
        }
    }
}

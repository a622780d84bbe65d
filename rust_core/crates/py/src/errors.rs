//! Errors as Python raises them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::{PyErr, PyResult, create_exception};

create_exception!(
    chaos._core,
    RejectedError,
    PyValueError,
    "What the caller gave is wrong; told apart from a `ValueError` of the caller's own code."
);

/// What the caller gave is wrong: [`RejectedError`], with the crate's own words.
pub fn value_error(error: impl ToString) -> PyErr {
    RejectedError::new_err(error.to_string())
}

/// Runs `work`; a panic in it is a mistake of ours, and becomes a `RuntimeError` that says so.
pub fn guarded<T>(work: impl FnOnce() -> T) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let words = payload.downcast_ref::<&str>().map(|words| (*words).to_owned());
        let words = words.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        PyRuntimeError::new_err(format!("chaos._core failed inside (please report this): {words}"))
    })
}

//! A model given from Python: a class with `initial` and `step`. Much slower than one in Rust: each step that was
//! not taken before calls Python.

use std::cell::RefCell;

use mcp_chaos_history::{Outcome, Value};
use mcp_chaos_linearizability::{Call, Model, Reading};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// The Python objects that stand behind numbers.
#[derive(Debug)]
struct Known {
    states: Vec<Py<PyAny>>,
    /// State -> number, as Python's `==` and `hash` see it.
    numbers: Py<PyDict>,
    calls: Vec<Py<PyAny>>,
    /// Call as JSON -> number.
    call_numbers: std::collections::BTreeMap<String, u32>,
    /// What Python raised first.
    raised: Option<PyErr>,
}

/// A model whose states and steps are Python's.
#[derive(Debug)]
pub struct PythonModel {
    model: Py<PyAny>,
    call_type: Py<PyAny>,
    by_key: bool,
    known: RefCell<Known>,
}

impl PythonModel {
    /// Of an object with `initial`, `step(state, call)` and, if it likes, `by_key` and `observes(call)`.
    /// `call_type` makes what `step` sees, from (f, key, argument, outcome, result, error).
    pub fn new(py: Python<'_>, model: Py<PyAny>, call_type: Py<PyAny>) -> PyResult<PythonModel> {
        let by_key = match model.getattr(py, "by_key") {
            Ok(flag) => flag.is_truthy(py)?,
            Err(_) => true,
        };
        let known = Known {
            states: Vec::new(),
            numbers: PyDict::new(py).unbind(),
            calls: Vec::new(),
            call_numbers: Default::default(),
            raised: None,
        };
        let made = PythonModel { call_type, by_key, known: RefCell::new(known), model };
        let initial = made.model.getattr(py, "initial")?;
        made.number(py, initial)?;
        Ok(made)
    }

    /// What Python raised during the search, if anything.
    pub fn raised(&self) -> Option<PyErr> {
        self.known.borrow_mut().raised.take()
    }

    /// Whether Python has raised something: the search is then of no more use.
    pub fn has_raised(&self) -> bool {
        self.known.borrow().raised.is_some()
    }

    fn number(&self, py: Python<'_>, state: Py<PyAny>) -> PyResult<u32> {
        let mut known = self.known.borrow_mut();
        let next = known.states.len() as u32;
        let numbers = known.numbers.bind(py).clone();
        if let Some(number) = numbers.get_item(&state)? {
            return number.extract();
        }
        numbers.set_item(&state, next)?;
        known.states.push(state);
        Ok(next)
    }

    fn call(&self, py: Python<'_>, call: &Call) -> PyResult<u32> {
        let (outcome, result, error) = match call.outcome {
            Outcome::Ok(result) => ("ok", Some(result), None),
            Outcome::Fail(error) => ("fail", None, error),
            Outcome::Unknown => ("unknown", None, None),
        };
        let parts =
            (call.f, call.key, call.argument.to_string(), outcome, result.map(Value::to_string), error);
        let name = format!("{parts:?}");
        if let Some(number) = self.known.borrow().call_numbers.get(&name) {
            return Ok(*number);
        }
        let argument = to_python(py, call.argument)?;
        let result = result.map(|result| to_python(py, result)).transpose()?;
        let made = self.call_type.call1(py, (call.f, call.key, argument, outcome, result, error))?;
        let mut known = self.known.borrow_mut();
        let next = known.calls.len() as u32;
        known.calls.push(made);
        known.call_numbers.insert(name, next);
        Ok(next)
    }

    fn reading(&self, py: Python<'_>, call: &Call) -> PyResult<Reading<u32>> {
        let number = self.call(py, call)?;
        Ok(match call.outcome {
            Outcome::Ok(_) => Reading::Certain(number),
            Outcome::Unknown => Reading::Possible(number),
            Outcome::Fail(None) => Reading::Nothing,
            // Whether the error is an observation is the model's to say.
            Outcome::Fail(Some(_)) => {
                let made = self.known.borrow().calls[number as usize].clone_ref(py);
                let asks = self.model.bind(py).hasattr("is_observation")?;
                match asks && self.model.call_method1(py, "is_observation", (made,))?.is_truthy(py)? {
                    true => Reading::Certain(number),
                    false => Reading::Nothing,
                }
            }
        })
    }

    fn next_states(&self, py: Python<'_>, state: u32, call: u32) -> PyResult<Vec<u32>> {
        let (state, call) = {
            let known = self.known.borrow();
            (known.states[state as usize].clone_ref(py), known.calls[call as usize].clone_ref(py))
        };
        let next = self.model.call_method1(py, "step", (state, call))?;
        next.bind(py).try_iter()?.map(|one| self.number(py, one?.unbind())).collect()
    }

    fn keep<T>(&self, result: PyResult<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.known.borrow_mut().raised.get_or_insert(error);
                None
            }
        }
    }
}

/// A state's number and a call's number.
impl Model for &PythonModel {
    type State = u32;
    type Action = u32;

    fn by_key(&self) -> bool {
        self.by_key
    }

    fn read(&self, call: &Call) -> Result<Reading<u32>, String> {
        let reading = Python::attach(|py| self.keep(self.reading(py, call)));
        // What Python raised ends the check, whatever this answers.
        Ok(reading.unwrap_or(Reading::Nothing))
    }

    fn initial(&self) -> u32 {
        0
    }

    fn step(&self, state: &u32, action: &u32, next: &mut Vec<u32>) {
        if !self.has_raised() {
            let states = Python::attach(|py| self.keep(self.next_states(py, *state, *action)));
            next.extend(states.into_iter().flatten());
        }
    }

    fn state_in_words(&self, state: &u32) -> String {
        Python::attach(|py| {
            let state = self.known.borrow().states[*state as usize].clone_ref(py);
            state.bind(py).repr().map_or_else(|_| "a state".to_owned(), |words| words.to_string())
        })
    }
}

/// A value as Python knows it: tuples for lists, so that it can be hashed.
fn to_python(py: Python<'_>, value: &Value) -> PyResult<Py<PyAny>> {
    Ok(match value {
        Value::Null => py.None(),
        Value::Bool(truth) => truth.into_pyobject(py)?.to_owned().into_any().unbind(),
        Value::Int(number) => number.into_pyobject(py)?.into_any().unbind(),
        Value::Number(text) => match text.parse::<f64>() {
            Ok(number) => number.into_pyobject(py)?.into_any().unbind(),
            Err(_) => PyString::new(py, text).into_any().unbind(),
        },
        Value::Text(text) => PyString::new(py, text).into_any().unbind(),
        Value::List(list) => {
            let items = list.iter().map(|one| to_python(py, one)).collect::<PyResult<Vec<_>>>()?;
            pyo3::types::PyTuple::new(py, items)?.into_any().unbind()
        }
        Value::Map(entries) => {
            let pairs = entries
                .iter()
                .map(|(name, value)| Ok((to_python(py, name)?, to_python(py, value)?)))
                .collect::<PyResult<Vec<_>>>()?;
            let pairs = pairs.into_iter().map(|pair| pair.into_pyobject(py)).collect::<PyResult<Vec<_>>>()?;
            pyo3::types::PyTuple::new(py, pairs)?.into_any().unbind()
        }
    })
}

//! The same question while the run goes on: so that it can end with the first violation.

use std::collections::VecDeque;

use mcp_chaos_evidence::{Function, HistoryEvent, Kind};
use mcp_chaos_history::{Map, Outcome, Value};
use mcp_chaos_linearizability::{Online, OnlineLimits, Standing, models::Register};
use serde::Serialize;

use super::answered;
use crate::operations::Operation;

/// The most operations that are kept to say what they did. A violation further back is told by its key alone.
const MOST_TOLD: usize = 1 << 16;

/// An operation that nothing explains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inexplicable {
    /// Its register.
    pub key: String,
    /// What was answered: `n1 answered read k0 = 3 at 4.210 s (process 500)`.
    pub words: String,
}

/// Follows a run's history, and judges its registers (which start as null) as [`super::judge`] would: what it
/// calls a violation is one there too, however the run goes on. Operations of other functions are passed over.
pub struct OnlineRegisters {
    online: Online<Register>,
    /// Process → its operation; none if that is passed over.
    open: Map<u64, Option<u32>>,
    /// The latest operations, with how they ended.
    told: VecDeque<(HistoryEvent, Option<HistoryEvent>)>,
    /// The number of the first of these.
    first_told: u32,
}

impl Default for OnlineRegisters {
    fn default() -> OnlineRegisters {
        let model = Register { initial: Value::Null, cas: true };
        OnlineRegisters {
            online: Online::new(model, OnlineLimits::default()),
            open: Map::default(),
            told: VecDeque::new(),
            first_told: 0,
        }
    }
}

impl OnlineRegisters {
    /// Takes the history's next event.
    ///
    /// # Errors
    /// It makes no sense after those before it, in words.
    pub fn take(&mut self, event: &HistoryEvent) -> Result<(), String> {
        let process = event.process;
        if event.kind == Kind::Invoke {
            return self.invoke(event);
        }
        let Some(operation) = self.open.remove(&process) else {
            return Err(format!("process {process} ends an operation that it never invoked"));
        };
        let Some(operation) = operation else { return Ok(()) };
        let value = Value::from(&event.value);
        let outcome = match event.kind {
            Kind::Ok => Outcome::Ok(&value),
            Kind::Fail => Outcome::Fail(event.error.as_deref()),
            Kind::Info | Kind::Invoke => Outcome::Unknown,
        };
        // An operation's number serves as that of its process: it is the only one of its time.
        self.online.end(operation, outcome)?;
        if let Some(at) = operation.checked_sub(self.first_told)
            && let Some(told) = self.told.get_mut(at as usize)
        {
            told.1 = Some(event.clone());
        }
        Ok(())
    }

    fn invoke(&mut self, event: &HistoryEvent) -> Result<(), String> {
        let process = event.process;
        if self.open.contains_key(&process) {
            return Err(format!("process {process} invokes an operation while its last has not ended"));
        }
        let f = match event.f {
            Function::Read => "read",
            Function::Write => "write",
            Function::Cas => "cas",
            Function::Other(_) => {
                self.open.insert(process, None);
                return Ok(());
            }
        };
        let number = self.first_told + self.told.len() as u32;
        self.online.invoke(number, f, &event.key, &Value::from(&event.value))?;
        self.open.insert(process, Some(number));
        self.told.push_back((event.clone(), None));
        if self.told.len() > MOST_TOLD {
            self.told.pop_front();
            self.first_told += 1;
        }
        Ok(())
    }

    /// Judges what can be judged yet, for about `steps` steps.
    pub fn advance(&mut self, steps: u64) -> Standing {
        self.online.advance(steps)
    }

    /// The first violation, once there is one.
    pub fn violation(&self) -> Option<Inexplicable> {
        let violation = self.online.violation()?;
        let at = violation.operation.checked_sub(self.first_told);
        let words = match at.and_then(|at| self.told.get(at as usize)) {
            Some((invoke, completion)) => answered(&Operation {
                invoke,
                completion: completion.as_ref(),
                invoked_at: invoke.index as usize,
                completed_at: completion.as_ref().map_or(usize::MAX, |event| event.index as usize),
            }),
            None => format!("an operation on {} was answered", violation.key),
        };
        Some(Inexplicable { key: violation.key.clone(), words })
    }

    /// What could not be judged, in words: `k0, from event 812 on: the search needs …`.
    pub fn doubts(&self) -> Vec<String> {
        self.online
            .doubts()
            .iter()
            .map(|doubt| format!("{}, from event {} on: {}", doubt.key, doubt.since_event, doubt.why))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::history;

    const STEPS: u64 = 1_000_000;

    /// After which event (from 1) the check is sure of a violation, and of which.
    fn found(text: &str) -> Option<(usize, String)> {
        let mut registers = OnlineRegisters::default();
        for (events, event) in (1..).zip(&history(text)) {
            registers.take(event).unwrap();
            if registers.advance(STEPS) == Standing::Violated {
                return Some((events, registers.violation().unwrap().words));
            }
        }
        assert_eq!(registers.violation(), None);
        assert_eq!(registers.doubts(), [""; 0]);
        None
    }

    #[test]
    fn a_stale_read_is_found_as_it_is_answered() {
        let stale =
            "1 invoke write 3; 1 ok write 3; 2 invoke write 7; 2 ok write 7; 9 invoke read; 9 ok read 3";
        let words = "the system answered read k0 = 3 at 0.050 s (process 9)";
        assert_eq!(found(&format!("{stale}; 1 invoke write 9; 1 ok write 9")), Some((6, words.into())));
        assert_eq!(found(&stale.replace("read 3", "read 7")), None);
    }

    #[test]
    fn an_operation_under_way_is_waited_for() {
        // The write of 5 may explain the read: only its failure says that it does not.
        let text = "1 invoke write 5; 2 invoke read; 2 ok read 5; ";
        assert_eq!(found(&format!("{text} 1 ok write 5")), None);
        assert_eq!(found(&format!("{text} 1 info write 5; 3 invoke read; 3 ok read 5")), None);
        assert_eq!(found(&format!("{text} 1 fail write 5")).map(|(event, _)| event), Some(4));
    }

    #[test]
    fn a_mismatch_observes_and_other_failures_do_not() {
        let text = "1 invoke write 3; 1 ok write 3; 2 invoke cas 3 4; 2 fail cas 3 4";
        assert_eq!(found(&format!("{text} not_leader")), None);
        let (_, words) = found(&format!("{text} mismatch")).unwrap();
        assert_eq!(
            words,
            "the system answered compare-and-set k0 from 3 to 4 with mismatch at 0.030 s (process 2)"
        );
    }

    #[test]
    fn other_functions_are_passed_over_and_each_key_has_its_own_register() {
        assert_eq!(
            found(
                "1 invoke enqueue 5; 2 invoke write 1; 1 ok enqueue 5; 2 ok write 1; 3 invoke dequeue; 3 ok dequeue 9"
            ),
            None
        );
        let mut events = history("1 invoke write 1; 1 ok write 1; 1 invoke read; 1 ok read -");
        for event in &mut events[2..] {
            event.key = "k1".into();
        }
        let mut registers = OnlineRegisters::default();
        events.iter().for_each(|event| registers.take(event).unwrap());
        assert_eq!(registers.advance(STEPS), Standing::UpToDate);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut registers = OnlineRegisters::default();
        let events = history("1 invoke read; 1 invoke read; 2 ok read 1; 3 invoke cas 1");
        registers.take(&events[0]).unwrap();
        assert!(registers.take(&events[1]).unwrap_err().starts_with("process 1 invokes"));
        assert!(registers.take(&events[2]).unwrap_err().starts_with("process 2 ends"));
        assert!(registers.take(&events[3]).is_err());
        assert!(registers.take(&events[3]).is_err(), "what was refused has left nothing");
    }

    #[test]
    fn a_violation_long_after_its_operation_is_told_by_its_key() {
        let mut registers = OnlineRegisters::default();
        // Its completion cannot be judged before the write has ended.
        let open = history("1 invoke write 5; 2 invoke read; 2 ok read 5");
        open.iter().for_each(|event| registers.take(event).unwrap());
        for event in history("3 invoke read; 3 ok read -").iter().cycle().take(2 * (MOST_TOLD + 1)) {
            let event = HistoryEvent { key: "k1".into(), ..event.clone() };
            registers.take(&event).unwrap();
        }
        registers.take(&history("1 fail write 5")[0]).unwrap();
        while registers.advance(STEPS) == Standing::Running {}
        assert_eq!(registers.violation().unwrap().words, "an operation on k0 was answered");
    }
}

//! Catches a panic inside a simulated node: it ends that node, and is evidence, not output.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<String> = const { RefCell::new(String::new()) };
}

static HOOK: Once = Once::new();

/// Replaces the panic hook, once for the process, by one that keeps silent while [`catch`] is at work on
/// its thread, and else does what the hook before it did.
fn install_hook() {
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CATCHING.get() {
                let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
                let payload = info.payload();
                let words = payload.downcast_ref::<&str>().copied();
                let words = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                let words = words.unwrap_or("a panic without words");
                CAUGHT.set(format!("{words} ({})", place.as_deref().unwrap_or("place unknown")));
            } else {
                previous(info);
            }
        }));
    });
}

/// Runs `work`; a panic becomes an error with its message and place. What `work` was changing must not be
/// used again.
pub(crate) fn catch<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    install_hook();
    CATCHING.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(false);
    result.map_err(|_| CAUGHT.take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message_and_place() {
        let message = catch(|| panic!("to {}", "commit")).unwrap_err();
        assert!(message.starts_with("to commit (") && message.contains("panics.rs:"), "{message}");
        assert_eq!(catch(|| 5), Ok(5));
    }
}

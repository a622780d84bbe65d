//! The search: a frontier of configurations, moved along the history event by event.

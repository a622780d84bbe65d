//! Which algorithms decide a history, and in which order.

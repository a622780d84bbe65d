//! A frontier of configurations, for any model.

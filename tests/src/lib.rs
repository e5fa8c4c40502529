//! End-to-end tests of the whole house against real components.

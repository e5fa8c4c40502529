//! weir-backends.

//! weir-billing.

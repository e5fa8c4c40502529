//! Subscriptions, usage of a period, invoices and their numbers.

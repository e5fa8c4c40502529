//! Meters and plans as published, and the snapshot that counting uses.

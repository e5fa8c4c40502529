//! weir-pipeline.

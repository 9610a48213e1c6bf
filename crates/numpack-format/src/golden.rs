//! The worked example of `docs/format.md`, decoded and written again.

//! The router as its shell sees it.

//! The requests of a client session that wait for their answer.

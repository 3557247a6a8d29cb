//! Where stored bytes are.

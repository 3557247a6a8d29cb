//! Photos and voice notes.

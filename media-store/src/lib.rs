//! Photos, voice notes and files.

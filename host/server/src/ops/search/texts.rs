//! The text in files: read behind the upload, one file at a time, and never twice at the same time.

//! What signalling asks of a media worker and what the worker reports.

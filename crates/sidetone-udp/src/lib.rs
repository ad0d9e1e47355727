//! Batched UDP sockets for media threads; knows no telephony.

//! DTMF digits by RFC 4733: the sending and the receiving machine.

//! The SIP user agent: transactions, dialogs and INVITE sessions behind one sans-IO machine.

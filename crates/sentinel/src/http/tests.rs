//! The client against real sockets that do everything wrong.

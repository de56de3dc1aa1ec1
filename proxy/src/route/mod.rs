//! Which route takes a request, and which arm answers it.

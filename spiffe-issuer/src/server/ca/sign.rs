//! Signing: from what is to be certified to the chain that is handed out.

//! What a ramdisk may ask: lookup and heartbeat, the nonce, the token, reports.

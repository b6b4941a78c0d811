//! The config drive: JSON or base64(gzip(ISO)) to a file system labelled config-2, validated before, read back after.

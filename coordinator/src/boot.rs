//! iPXE scripts, kernel and ramdisk over HTTP, settings for dnsmasq.

pub mod script;

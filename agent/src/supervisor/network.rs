//! The helper that gets addresses: on the card the machine was booted from, else on every card with a carrier, and keeps
//! them for as long as the machine runs, or until a lockdown.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::RESCUE_OPEN;
use super::beacon::FirstWords;
use super::child::READY;
use super::cmdline::{Mac, boot_mac, parse_mac};
use super::console::{complain, say};
use super::dhcp::client::{Client, Kept};
use super::dhcp::{self, Lease};
use super::lockdown;
use super::netlink::{Netlink, Route};

/// How often to look for new cards.
const LOOK: Duration = Duration::from_millis(100);

/// Without the card of `BOOTIF` for this long, every card is tried.
const BOOT_CARD_PATIENCE: Duration = Duration::from_secs(30);

/// A link without a carrier for this long is asked all the same: not every driver tells.
const CARRIER_PATIENCE: Duration = Duration::from_secs(15);

/// Pause after something that should not fail did.
const RETRY: Duration = Duration::from_secs(5);

/// Shortest pause between two wishes to keep a lease (RFC 2131 section 4.4.5).
const MIN_RENEWAL: Duration = Duration::from_secs(60);

/// A network card of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Card {
    name: String,
    mac: Mac,
}

/// Whether some card has an address already: the first one decides name servers and the default route.
static PRIMARY: AtomicBool = AtomicBool::new(false);

/// Serves cards for as long as the machine runs. Prints `ready` with the first address.
pub(super) fn run() -> ExitCode {
    let started = Instant::now();
    if let Some(netlink) = complain("cannot configure the network", Netlink::open()) {
        let index = nix::net::if_::if_nametoindex("lo").unwrap_or(1);
        complain("cannot start lo", netlink.link_up(index));
    }
    let boot_card = boot_mac(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
    let mut served = HashSet::new();
    let mut raised = HashSet::new();
    loop {
        if lockdown::is_on() {
            // What appears now is down, and stays so.
            thread::sleep(RETRY);
            continue;
        }
        let patient = started.elapsed() < BOOT_CARD_PATIENCE;
        let cards = cards(Path::new("/sys/class/net"));
        // A card that is down shows no carrier and hears no switch.
        for card in &cards {
            if raised.insert(card.name.clone()) {
                complain(&format!("{}: cannot be started", card.name), raise(&card.name));
            }
        }
        // Whoever rescues an instance may come by the instance's own network.
        let boot_card = boot_card.filter(|_| !Path::new(RESCUE_OPEN).exists());
        for card in wanted(&cards, boot_card, patient || !served.is_empty()) {
            if served.insert(card.name.clone()) {
                let card = card.clone();
                complain("cannot serve a card", thread::Builder::new().spawn(move || serve(&card)));
            }
        }
        thread::sleep(if patient { LOOK } else { LOOK * 20 });
    }
}

/// Brings a card's link up.
fn raise(name: &str) -> io::Result<()> {
    lockdown::link_up(&Netlink::open()?, nix::net::if_::if_nametoindex(name)?)
}

/// The cards to ask for an address: the one booted from, and while that is absent nobody, until patience ends.
fn wanted(cards: &[Card], boot_card: Option<Mac>, patient: bool) -> Vec<&Card> {
    match boot_card {
        Some(mac) if patient || cards.iter().any(|card| card.mac == mac) => {
            cards.iter().filter(|card| card.mac == mac).take(1).collect()
        }
        Some(_) | None => cards.iter().collect(),
    }
}

/// Ethernet cards with hardware behind them, below `/sys/class/net`.
fn cards(folder: &Path) -> Vec<Card> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut cards: Vec<Card> = entries
        .filter_map(|entry| {
            let read = |name| fs::read_to_string(entry.path().join(name)).ok();
            // 1: ARPHRD_ETHER. Bonds, bridges and the like have no device.
            let ethernet = read("type")?.trim() == "1" && entry.path().join("device").exists();
            let mac = parse_mac(&read("address")?)?;
            let name = entry.file_name().into_string().ok()?;
            ethernet.then_some(Card { name, mac })
        })
        .collect();
    cards.sort_by(|a, b| a.name.cmp(&b.name));
    cards
}

/// Gets a lease for `card` and keeps it; again and again, until a lockdown.
fn serve(card: &Card) {
    loop {
        let held = hold(card);
        if lockdown::is_on() {
            say(&format!("{}: no lease any more: lockdown", card.name));
            return;
        }
        if let Err(error) = held {
            say(&format!("{}: {error}", card.name));
            thread::sleep(RETRY);
        }
    }
}

/// One lease, from the question to its end.
fn hold(card: &Card) -> io::Result<()> {
    let index = nix::net::if_::if_nametoindex(card.name.as_str())?;
    let netlink = Netlink::open()?;
    lockdown::link_up(&netlink, index)?;
    await_carrier(&card.name);
    let client = Client::open(&card.name, card.mac)?;
    let Some(mut lease) = client.acquire()? else {
        say(&format!("{}: no DHCP server answered; trying again", card.name));
        return Ok(());
    };
    apply(&netlink, index, card, &lease)?;
    while let Some(next) = keep(&client, &lease)? {
        if (next.ip, next.prefix) != (lease.ip, lease.prefix) {
            netlink.remove_address(index, lease.ip, lease.prefix)?;
        }
        lease = next;
        apply(&netlink, index, card, &lease)?;
    }
    say(&format!("{}: the lease of {} ended", card.name, lease.ip));
    netlink.remove_address(index, lease.ip, lease.prefix)
}

fn await_carrier(name: &str) {
    let carrier = PathBuf::from("/sys/class/net").join(name).join("carrier");
    let end = Instant::now() + CARRIER_PATIENCE;
    while Instant::now() < end {
        if fs::read_to_string(&carrier).is_ok_and(|text| text.trim() == "1") {
            return;
        }
        thread::sleep(LOOK / 2);
    }
}

/// Gives the card what the lease says.
fn apply(netlink: &Netlink, index: u32, card: &Card, lease: &Lease) -> io::Result<()> {
    netlink.add_address(index, lease.ip, lease.prefix)?;
    if let Some(mtu) = lease.mtu {
        complain(&format!("{}: MTU {mtu}", card.name), netlink.set_mtu(index, mtu));
    }
    for &(to, prefix, via) in &lease.routes {
        // Cards that came later have larger indexes: the earliest one wins.
        let route = Route { to, prefix, via, metric: 1000_u32.saturating_add(index) };
        let what = format!("{}: route to {to}/{prefix}", card.name);
        complain(&what, netlink.add_route(index, route));
    }
    if !PRIMARY.swap(true, Ordering::Relaxed) {
        complain("resolv.conf", fs::write("/etc/resolv.conf", dhcp::resolv_conf(lease)));
        complain("cannot report", writeln!(io::stdout(), "{READY}"));
        let words = FirstWords::new(&card.name, lease.ip);
        complain("cannot send a beacon", thread::Builder::new().spawn(move || words.send()));
    }
    let via: Vec<String> = lease.routes.iter().map(|(_, _, via)| via.to_string()).collect();
    say(&format!(
        "{}: {}/{} from {} via {}",
        card.name,
        lease.ip,
        lease.prefix,
        lease.server,
        if via.is_empty() { "nobody".to_owned() } else { via.join(" ") }
    ));
    Ok(())
}

/// Waits until `lease` must be renewed and renews it; `None` when it is lost.
fn keep(client: &Client, lease: &Lease) -> io::Result<Option<Lease>> {
    let taken = Instant::now();
    let mut pause = lease.renew;
    loop {
        thread::sleep(pause);
        let age = taken.elapsed();
        if lease.expire.is_some_and(|expire| age >= expire) {
            return Ok(None);
        }
        let server = if age < lease.rebind { lease.server } else { Ipv4Addr::BROADCAST };
        match client.keep(lease, server)? {
            Kept::Renewed(next) => return Ok(Some(next)),
            Kept::Refused => return Ok(None),
            Kept::Silence => pause = next_attempt(lease, taken.elapsed()),
        }
    }
}

/// Half of what is left until the next stage, as RFC 2131 section 4.4.5 wants it, and not beyond the lease's end.
fn next_attempt(lease: &Lease, age: Duration) -> Duration {
    let end = lease.expire.unwrap_or(Duration::MAX);
    let stage = if age < lease.rebind { lease.rebind } else { end };
    let half = stage.saturating_sub(age) / 2;
    half.max(MIN_RENEWAL.min(lease.renew)).min(end.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(last: u8) -> Card {
        Card { name: format!("eth{last}"), mac: [2, 0, 0, 0, 0, last] }
    }

    #[test]
    fn only_the_boot_card_is_asked_unless_it_never_appears() {
        let cards = [card(0), card(1)];
        let boot = Some(card(1).mac);
        let absent = Some(card(9).mac);
        for (boot_card, patient, expected) in [
            (boot, true, vec!["eth1"]),
            (boot, false, vec!["eth1"]),
            (absent, true, vec![]),
            (absent, false, vec!["eth0", "eth1"]),
            (None, true, vec!["eth0", "eth1"]),
        ] {
            let names: Vec<_> =
                wanted(&cards, boot_card, patient).iter().map(|card| card.name.clone()).collect();
            assert_eq!(names, expected, "{boot_card:?} {patient}");
        }
    }

    #[test]
    fn virtual_and_foreign_links_are_no_cards() {
        let root = tempfile::tempdir().unwrap();
        for (name, kind, device) in
            [("eth0", "1", true), ("bond0", "1", false), ("lo", "772", false), ("ib0", "32", true)]
        {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("type"), format!("{kind}\n")).unwrap();
            fs::write(folder.join("address"), "52:54:00:00:00:10\n").unwrap();
            if device {
                fs::create_dir(folder.join("device")).unwrap();
            }
        }
        let mac = [0x52, 0x54, 0, 0, 0, 0x10];
        assert_eq!(cards(root.path()), [Card { name: "eth0".to_owned(), mac }]);
    }

    #[test]
    fn a_silent_server_is_asked_again_at_half_the_time_left_and_never_after_the_end() {
        let seconds = Duration::from_secs;
        let lease = Lease {
            ip: Ipv4Addr::new(10, 0, 0, 2),
            prefix: 24,
            server: Ipv4Addr::new(10, 0, 0, 1),
            routes: Vec::new(),
            dns: Vec::new(),
            domain: None,
            mtu: None,
            renew: seconds(300),
            rebind: seconds(525),
            expire: Some(seconds(600)),
        };
        for (age, expected) in [(302, 111), (400, 62), (500, 60), (530, 60), (590, 10)] {
            let pause = next_attempt(&lease, seconds(age));
            assert_eq!(pause.as_secs(), expected, "at {age} s");
        }
    }
}

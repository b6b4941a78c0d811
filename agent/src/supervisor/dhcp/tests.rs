use super::*;

const US: Conversation = Conversation { xid: 0x1234_5678, mac: [0x52, 0x54, 0, 0, 0, 0x10] };

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 22, 0, last)
}

fn answer(kind: MessageType) -> Message {
    let mut message = Message::default();
    message.set_opcode(Opcode::BootReply).set_xid(US.xid).set_chaddr(&US.mac).set_yiaddr(ip(50));
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(ip(1)));
    options.insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
    options.insert(DhcpOption::Router(vec![ip(1), ip(2)]));
    options.insert(DhcpOption::DomainNameServer(vec![ip(1)]));
    options.insert(DhcpOption::DomainName("lab.example".to_owned()));
    options.insert(DhcpOption::AddressLeaseTime(600));
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

fn given(change: impl Fn(&mut Message)) -> Option<Lease> {
    let mut message = answer(MessageType::Ack);
    change(&mut message);
    match US.reply(&bytes(&message)) {
        Some(Reply::Ack(lease)) => Some(lease),
        Some(Reply::Offer(_) | Reply::Nak) | None => None,
    }
}

#[test]
fn a_discover_identifies_the_card_as_firmware_does_and_wants_a_broadcast_answer() {
    let sent = US.discover().unwrap();
    assert!(sent.len() >= 300, "{} bytes", sent.len());
    let message = Message::decode(&mut Decoder::new(&sent)).unwrap();
    assert_eq!(message.chaddr(), US.mac);
    assert!(message.flags().broadcast());
    assert_eq!(
        message.opts().get(OptionCode::ClientIdentifier),
        Some(&DhcpOption::ClientIdentifier(vec![1, 0x52, 0x54, 0, 0, 0, 0x10]))
    );
}

#[test]
fn a_request_names_server_and_address_and_a_renewal_neither() {
    let lease = given(|_| {}).unwrap();
    let sent = US.request(&lease).unwrap();
    let request = Message::decode(&mut Decoder::new(&sent)).unwrap();
    let has = |message: &Message, code| message.opts().get(code).is_some();
    assert!(
        has(&request, OptionCode::ServerIdentifier)
            && has(&request, OptionCode::RequestedIpAddress)
    );
    assert_eq!(request.ciaddr(), Ipv4Addr::UNSPECIFIED);
    let sent = US.renew(&lease).unwrap();
    let renewal = Message::decode(&mut Decoder::new(&sent)).unwrap();
    assert!(!has(&renewal, OptionCode::ServerIdentifier));
    assert!(!has(&renewal, OptionCode::RequestedIpAddress));
    assert_eq!(renewal.ciaddr(), ip(50));
}

#[test]
fn a_lease_carries_address_route_names_and_times() {
    let lease = given(|_| {}).unwrap();
    assert_eq!((lease.ip, lease.prefix, lease.server), (ip(50), 24, ip(1)));
    assert_eq!(lease.routes, [(Ipv4Addr::UNSPECIFIED, 0, ip(1))]);
    assert_eq!(resolv_conf(&lease), "search lab.example\nnameserver 172.22.0.1\n");
    assert_eq!(lease.renew, Duration::from_secs(300));
    assert_eq!(lease.rebind, Duration::from_secs(525));
    assert_eq!(lease.expire, Some(Duration::from_secs(600)));
}

#[test]
fn offers_and_refusals_are_told_apart() {
    assert!(matches!(US.reply(&bytes(&answer(MessageType::Offer))), Some(Reply::Offer(_))));
    assert_eq!(US.reply(&bytes(&answer(MessageType::Nak))), Some(Reply::Nak));
    assert_eq!(US.reply(&bytes(&answer(MessageType::Inform))), None);
}

#[test]
fn answers_to_others_are_not_ours() {
    let someone = Conversation { mac: [2; 6], ..US };
    let other_time = Conversation { xid: 1, ..US };
    let sent = bytes(&answer(MessageType::Ack));
    assert!(US.reply(&sent).is_some());
    assert_eq!(someone.reply(&sent), None);
    assert_eq!(other_time.reply(&sent), None);
    let mut request = answer(MessageType::Ack);
    request.set_opcode(Opcode::BootRequest);
    assert_eq!(US.reply(&bytes(&request)), None);
}

#[test]
fn a_lease_that_no_host_can_use_is_refused() {
    let bad_ip = |ip: [u8; 4]| {
        given(move |message| {
            message.set_yiaddr(ip);
        })
    };
    for ip in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 5], [255, 255, 255, 255]] {
        assert_eq!(bad_ip(ip), None, "{ip:?}");
    }
    for mask in [[255, 0, 255, 0], [0, 0, 0, 0], [0, 255, 255, 255]] {
        let insert = |message: &mut Message| {
            message.opts_mut().insert(DhcpOption::SubnetMask(mask.into()));
        };
        assert_eq!(given(insert), None, "{mask:?}");
    }
    for code in [OptionCode::ServerIdentifier, OptionCode::AddressLeaseTime] {
        let remove = |message: &mut Message| {
            message.opts_mut().remove(code);
        };
        assert_eq!(given(remove), None, "{code:?}");
    }
}

#[test]
fn hostile_names_sizes_and_times_are_replaced_by_safe_ones() {
    let lease = given(|message| {
        let options = message.opts_mut();
        options.insert(DhcpOption::DomainName("a\nnameserver 6.6.6.6".to_owned()));
        options.insert(DhcpOption::DomainNameServer(vec![Ipv4Addr::LOCALHOST, ip(9)]));
        options.insert(DhcpOption::InterfaceMtu(68));
        options.insert(DhcpOption::AddressLeaseTime(1));
        options.insert(DhcpOption::Renewal(0));
        options.insert(DhcpOption::Rebinding(9999));
    })
    .unwrap();
    assert_eq!((lease.domain.as_deref(), lease.mtu), (None, None));
    assert_eq!(lease.dns, [ip(9)]);
    assert_eq!(lease.expire, Some(MIN_LEASE));
    assert_eq!(lease.renew, MIN_LEASE / 2);
}

#[test]
fn a_lease_for_ever_never_ends() {
    let lease = given(|message| {
        message.opts_mut().insert(DhcpOption::AddressLeaseTime(u32::MAX));
    });
    assert_eq!(lease.unwrap().expire, None);
}

#[test]
fn cut_and_random_packets_never_panic() {
    let sent = bytes(&answer(MessageType::Ack));
    for length in 0..sent.len() {
        US.reply(&sent[..length]);
    }
    let mut noise = sent.clone();
    for at in 0..noise.len() {
        noise[at] ^= 0xff;
        US.reply(&noise);
        noise[at] ^= 0xff;
    }
}

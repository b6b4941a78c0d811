#!/usr/bin/env python3
"""Makes server.tree: the /sys and /proc files the inventory reads, as a kernel shows the emulated server of the lab
(q35, NVMe with a hidden multipath node, virtio-blk, AHCI, virtio-scsi, megaraid_sas, SAS, USB stick, CD, loop, zram; two NICs).

Format, one line a file:   F PATH CONTENT   (backslash escapes)      L PATH TARGET   (symbolic link)
A real machine is captured into the same format by ./capture-tree."""
out = []

def f(path, content):
    data = content if isinstance(content, bytes) else content.encode()
    text = "".join(chr(b) if 32 <= b < 127 and b != 92 else "\\x%02x" % b for b in data)
    out.append("F %s %s" % (path, text))

def l(path, target):
    out.append("L %s %s" % (path, target))

def up(path):
    """From a link in PATH's folder back to the root of the tree."""
    return "../" * path.count("/")

def disk(name, device, bus, size_gib, files, removable=0, ro=0, rotational=0, sector=512, physical=None, hidden=None):
    """A block device: DEVICE is the folder it hangs under, BUS what lies between (block/ or nothing for NVMe)."""
    base = "sys/devices/%s/%s%s" % (device, bus, name)
    l("sys/block/" + name, "../../" + base)
    f(base + "/size", "%d\n" % (size_gib * 2**30 // 512))
    f(base + "/removable", "%d\n" % removable)
    f(base + "/ro", "%d\n" % ro)
    if hidden is not None:
        f(base + "/hidden", "%d\n" % hidden)
    f(base + "/queue/rotational", "%d\n" % rotational)
    f(base + "/queue/logical_block_size", "%d\n" % sector)
    f(base + "/queue/physical_block_size", "%d\n" % (physical or sector))
    if device.startswith("pci"):
        # "device" leads to the folder the driver bound; its last part is the SCSI address.
        l(base + "/device", up(base + "/device") + "sys/devices/" + device)
    for path, content in files.items():
        if path.startswith("device/"):
            f("sys/devices/%s/%s" % (device, path[7:]), content)
        else:
            f(base + "/" + path, content)

def vpd80(serial):
    return b"\0\x80" + len(serial).to_bytes(2, "big") + serial.encode()

P = "pci0000:00/"
disk("nvme0n1", P + "0000:00:04.0/nvme/nvme0", "", 32, {"device/model": "QEMU NVMe Ctrl                          \n",
     "device/serial": "NVME0001            \n", "wwid": "eui.00a0b0c0d0e0f001\n", "nsid": "1\n"}, hidden=0, sector=4096)
disk("nvme0c0n1", P + "0000:00:04.0/nvme/nvme0", "", 32, {"nsid": "1\n"}, hidden=1)
disk("vda", P + "0000:00:05.0/virtio1", "block/", 20, {"serial": "VDA01", "device/vendor": "0x1af4\n", "device/device": "0x0002\n"})
disk("sda", P + "0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0", "block/", 100, {"device/model": "LABSATA         \n",
     "device/vendor": "ATA     \n", "device/vpd_pg80": vpd80("SATA01              "), "device/wwid": "t10.ATA LABSATA SATA01\n"},
     rotational=1, physical=4096)
f("sys/class/ata_port/ata1/port_no", "1\n")
disk("sdb", P + "0000:00:06.0/virtio2/host7/target7:0:0/7:0:0:0", "block/", 50, {"device/model": "QEMU HARDDISK   \n",
     "device/vendor": "QEMU    \n", "device/vpd_pg80": vpd80("SCSI01"), "device/wwid": "naa.5000c50000000001\n"})
disk("sdc", P + "0000:00:07.0/host8/target8:2:0/8:2:0:0", "block/", 200, {"device/model": "QEMU HARDDISK   \n",
     "device/vendor": "QEMU    \n", "device/vpd_pg80": vpd80("MEGA01"), "device/wwid": "naa.6a1b2c3d4e5f60718293a4b5c6d7e8f9\n"})
disk("sdd", P + "0000:00:08.0/host9/port-9:0/end_device-9:0/target9:0:0/9:0:0:0", "block/", 600, {"device/model": "ST600MM0009\n",
     "device/vendor": "SEAGATE \n", "device/vpd_pg80": vpd80("SAS01"), "device/wwid": "naa.5000c500a1b2c3d4\n"}, rotational=1)
f("sys/class/sas_device/end_device-9:0/phy_identifier", "3\n")
disk("sde", P + "0000:00:1d.7/usb1/1-1/1-1:1.0/host10/target10:0:0/10:0:0:0", "block/", 8, {"device/model": "Flash Disk\n",
     "device/vendor": "Generic \n"}, removable=1)
disk("sr0", P + "0000:00:1f.2/ata2/host1/target1:0:0/1:0:0:0", "block/", 1, {"device/vendor": "QEMU    \n"}, removable=1)
f("sys/devices/pci0000:00/0000:00:08.0/host9/port-9:0/end_device-9:0/target9:0:0/9:0:0:0/block/sdd/sdd1/holders/md127/.keep", "")
disk("loop0", "virtual", "block/", 1, {})
disk("zram0", "virtual", "block/", 1, {})
disk("sdf", P + "0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0", "block/", 0, {})
disk("dm-0", "virtual", "block/", 10, {"dm/uuid": "LVM-abcdef\n"})

def nic(name, device, files, driver=None):
    base = "sys/devices/%s/net/%s" % (device, name)
    l("sys/class/net/" + name, "../../" + "../" + base)
    if device != "virtual":
        l(base + "/device", up(base + "/device") + "sys/devices/" + device)
    if driver:
        f("sys/bus/drivers/%s/.keep" % driver, "")
        l("sys/devices/%s/driver" % device, up("sys/devices/%s/driver" % device) + "sys/bus/drivers/" + driver)
    for path, content in files.items():
        f(("sys/devices/%s/%s" % (device, path[7:])) if path.startswith("device/") else base + "/" + path, content)

nic("eth0", P + "0000:00:02.0/virtio0", {"address": "52:54:00:00:00:10\n", "carrier": "1\n", "speed": "-1\n", "device/vendor": "0x1af4\n",
    "device/device": "0x0001\n"}, "virtio_net")
nic("eth1", P + "0000:00:03.0", {"address": "52:54:00:00:01:1A\n", "carrier": "0\n", "speed": "1000\n", "device/vendor": "0x8086\n",
    "device/device": "0x10d3\n"}, "e1000e")
nic("eth2", P + "0000:00:09.0", {"address": "fa:16:3e:00:00:01\n", "carrier": "1\n"}, "igb")
nic("lo", "virtual", {"address": "00:00:00:00:00:00\n", "carrier": "1\n"})
nic("bond0", "virtual", {"address": "52:54:00:00:01:1a\n", "carrier": "1\n", "bonding/mode": "active-backup 1\n"})

f("proc/net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
  "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\neth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n")
f("proc/net/fib_trie", "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.0\n"
  "        /24 link UNICAST\n     |-- 192.0.2.10\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n")
f("proc/net/if_inet6", "fe800000000000005054 00fffe000010 02 40 20 80 eth0\n".replace("5054 00", "505400") +
  "fe80000000000000505400fffe00011a 03 40 20 80 eth1\nfd000000000000000000000000000010 02 40 00 80 eth0\n")
cpu = "processor\t: %d\nmodel name\t: AMD EPYC 9354P 32-Core Processor\ncpu MHz\t\t: 3249.998\nphysical id\t: %d\nflags\t\t: fpu sse2 svm\n\n"
f("proc/cpuinfo", "".join(cpu % (n, n // 2) for n in range(4)))
f("proc/meminfo", "MemTotal:        2030640 kB\nMemFree:         1802112 kB\n")
f("proc/sys/kernel/arch", "x86_64\n")
f("proc/sys/kernel/hostname", "localhost\n")
f("proc/cmdline", "ipa-api-url=http://192.0.2.1:6385 BOOTIF=01-52-54-00-00-00-10 quiet\n")
f("sys/firmware/efi/fw_platform_size", "64\n")
for name, value in {"product_name": "Rack1000", "product_serial": "SN-0001", "sys_vendor": "Acme", "bios_vendor": "LabBIOS",
                    "bios_version": "1.2.3", "bios_date": "02/29/2024"}.items():
    f("sys/class/dmi/id/" + name, value + "\n")
def pci(address, vendor, device, kind, numa):
    base = "sys/devices/pci0000:00/" + address
    l("sys/bus/pci/devices/" + address, "../../../devices/pci0000:00/" + address)
    for name, value in {"vendor": vendor, "device": device, "class": kind, "revision": "0x02", "numa_node": numa}.items():
        if not any(line.startswith("F %s/%s " % (base, name)) for line in out):
            f(base + "/" + name, value + "\n")

pci("0000:00:02.0", "0x1af4", "0x1000", "0x020000", "0")
pci("0000:00:03.0", "0x8086", "0x10d3", "0x020000", "1")

def usb(name, files):
    for path, value in files.items():
        f("sys/bus/usb/devices/%s/%s" % (name, path), value + "\n")

usb("usb1", {"idVendor": "1d6b", "idProduct": "0002", "busnum": "1", "devnum": "1"})
usb("1-1", {"idVendor": "0627", "idProduct": "0001", "busnum": "1", "devnum": "2", "product": "QEMU USB Tablet", "manufacturer": "QEMU"})
usb("1-2", {"idVendor": "0951", "idProduct": "1666", "busnum": "1", "devnum": "3"})
usb("1-1:1.0", {"bInterfaceClass": "03"})
for cpu_number in range(4):
    node = cpu_number // 2
    f("sys/devices/system/node/node%d/cpu%d/topology/core_id" % (node, cpu_number), "0\n")
for node in range(2):
    f("sys/devices/system/node/node%d/meminfo" % node, "Node %d MemTotal:     1015320 kB\nNode %d MemFree: 1 kB\n" % (node, node))
f("sys/class/tpm/tpm0/tpm_version_major", "2\n")

def smbios(kind, length, fields, strings):
    """One structure: FIELDS are (offset, bytes)."""
    body = bytearray(length)
    body[0], body[1], body[2] = kind, length, kind
    for offset, value in fields:
        body[offset:offset + len(value)] = value
    return bytes(body) + (b"".join(text.encode() + b"\0" for text in strings) or b"\0") + b"\0"

def le(value, size):
    return value.to_bytes(size, "little")

def dimm(slot, serial):
    return smbios(17, 0x22, [(8, le(72, 2)), (10, le(64, 2)), (12, le(1024, 2)), (14, b"\x09"), (16, b"\1\2\x1a"), (21, le(3200, 2)),
                             (23, b"\3\4")], [slot, "P0 CHANNEL A", "Micron", serial])

table = smbios(0, 0x1A, [(4, b"\1\2"), (6, le(0xE800, 2)), (8, b"\3\xff"), (24, le(16, 2))], ["LabBIOS", "1.2.3", "02/29/2024"])
table += smbios(4, 0x30, [(4, b"\1"), (7, b"\2"), (16, b"\3"), (20, le(4000, 2)), (22, le(3250, 2)), (24, b"\x41"), (35, b"\2\2\2")],
                ["CPU 0", "Acme", "EPYC"])
table += smbios(16, 0x17, [(4, b"\3\3\5"), (7, le(4 << 20, 4)), (13, le(4, 2))], [])
table += dimm("DIMM_A1", "S-0001") + dimm("DIMM_A2", "S-0002")
table += smbios(41, 0x0B, [(4, b"\1\x85\1"), (7, le(0, 2)), (9, b"\x00\x18")], ["LAN 1"])
f("sys/firmware/dmi/tables/DMI", table + b"\x7f\x04\0\0\0\0")
open(__file__.rsplit("/", 1)[0] + "/server.tree" if "/" in __file__ else "server.tree", "w").write("\n".join(out) + "\n")

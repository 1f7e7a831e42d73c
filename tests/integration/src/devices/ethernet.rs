// SPDX-License-Identifier: GPL-2.0

//! Network cards: behind each is a network of its own, with a gateway that answers `ping` and a service that sends back what it
//! gets.

use anyhow::{ensure, Context, Result};
use devlend_bed::{until, Host, Seen};

use super::row::{Device, Driver, Place, Used};
use super::{virtio, LIMIT};

/// e1000e's driver, without what an earlier row may have told it.
const FRESH: &[&str] = &["-r e1000e", "e1000e"];

/// A network card with a network behind it.
macro_rules! card {
    ($name:ident, $text:literal, $qemu:literal, $modules:expr, $works:expr, $place:expr) => {
        #[doc = concat!("A network card: ", $text, ".")]
        pub static $name: Device = Device {
            name: $text,
            qemu: concat!(
                "-netdev user,id={id}n,net=10.{n}.2.0/24,host=10.{n}.2.2,guestfwd=tcp:10.{n}.2.100:7-cmd:cat ",
                $qemu
            ),
            place: $place,
            driver: Driver::Stock($modules),
            works: $works,
        };
    };
}

card!(
    E1000E,
    "e1000e",
    "-device e1000e,{pci},netdev={id}n",
    FRESH,
    works,
    Place::Slot
);
card!(
    E1000E_TESTED,
    "e1000e beside another one, ethtool -t",
    "-device e1000e,{pci},multifunction=on,netdev={id}n \
     -netdev user,id={id}t -device e1000e,addr={slot}.1,netdev={id}t",
    FRESH,
    tests_itself,
    Place::Slot
);
card!(
    E1000E_MSI,
    "e1000e, IntMode=1",
    "-device e1000e,{pci},netdev={id}n",
    &["-r e1000e", "e1000e IntMode=1"],
    works,
    Place::Slot
);
card!(
    E1000E_INTX,
    "e1000e, IntMode=0",
    "-device e1000e,{pci},netdev={id}n",
    &["-r e1000e", "e1000e IntMode=0"],
    works,
    Place::Slot
);
card!(
    E1000,
    "e1000",
    "-device e1000,{pci},netdev={id}n",
    &["e1000"],
    works,
    Place::Slot
);
card!(
    E1000E_MOVED,
    "e1000e, interrupts moved between processors",
    "-device e1000e,{pci},netdev={id}n",
    FRESH,
    while_interrupts_move,
    Place::Slot
);
card!(
    IGB,
    "igb",
    // On the root bus its virtual functions would take the places of other devices.
    "-device igb,{pci},netdev={id}n",
    &["igb"],
    works,
    Place::Port
);
card!(
    VIRTIO_NET,
    "virtio-net-pci, iommu_platform=on",
    "-device virtio-net-pci,{pci},netdev={id}n,iommu_platform=on,disable-legacy=on",
    &[],
    works,
    virtio::PLACE
);

/// Puts a card into use.
pub(super) fn up(used: &Used<'_>) -> Result<String> {
    let host = used.host();
    let interface = host.wait_interface(used.address, LIMIT)?;
    let n = used.number();
    host.sh_ok(&format!(
        "ip link set {interface} up && ip addr add 10.{n}.2.15/24 dev {interface}"
    ))?;
    until("a carrier", LIMIT, || {
        let carrier = host.read(&format!("/sys/class/net/{interface}/carrier"))?;
        Ok(if carrier == "1" {
            Seen::Yes(())
        } else {
            Seen::NotYet(carrier)
        })
    })?;
    Ok(interface)
}

fn works(used: &Used<'_>) -> Result<String> {
    // It stays up until the device is returned, as it would be with people.
    let interface = up(used)?;
    talk(used, &interface)
}

/// Sends data through a card that is up, and gets it back.
fn talk(used: &Used<'_>, interface: &str) -> Result<String> {
    let host = used.host();
    let n = used.number();
    host.sh_ok(&format!("ping -I {interface} -c 5 -i 0.2 -W 5 10.{n}.2.2"))?;
    let sums = host.sh_ok(&format!(
        "head -c 1M /dev/urandom >/tmp/sent{n}; \
         socat -t 30 - TCP:10.{n}.2.100:7 </tmp/sent{n} >/tmp/back{n}; sha256sum </tmp/sent{n}; sha256sum </tmp/back{n}"
    ))?;
    let (sent, back) = sums.split_once('\n').context("no sums")?;
    ensure!(sent == back, "{sums}");
    Ok("ping, 1 MiB over TCP and back compared".into())
}

/// The driver's own tests, of registers, interrupts and frames, find the same as in the lender, where they are made with the function
/// beside it. QEMU's model does not pass all of them.
fn tests_itself(used: &Used<'_>) -> Result<String> {
    let done = works(used)?;
    let lender = used.pair.lender;
    let borrowed = self_test(used.host(), used.address)?;
    let beside = used.lent.replace(".0", ".1");
    lender.sh_ok("modprobe e1000e")?;
    let own = self_test(lender, &beside);
    // The rows that follow lend what no driver has.
    lender.sh_ok("modprobe -r e1000e")?;
    let own = own?;
    ensure!(
        borrowed == own,
        "borrowed: {borrowed}\nin the lender: {own}"
    );
    Ok(format!(
        "{done}, ethtool -t finds what it finds in the lender"
    ))
}

/// What `ethtool -t` prints, but for its test of the loopback, which waits 200 ms for its frames: how it ends depends on how busy the
/// machine is.
fn self_test(host: &Host, address: &str) -> Result<String> {
    let interface = host.wait_interface(address, LIMIT)?;
    let text = host.sh_ok(&format!(
        "ip link set {interface} up && ethtool -t {interface} offline; ip link set {interface} down"
    ))?;
    ensure!(text.contains("Loopback test"), "{text}");
    let lines = text.lines().filter(|line| !line.contains("Loopback test"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// The vectors go from one processor to the other and back while data comes and goes; each of the two takes some.
fn while_interrupts_move(used: &Used<'_>) -> Result<String> {
    let host = used.host();
    let interface = up(used)?;
    let vectors = format!("/sys/bus/pci/devices/{}/msi_irqs", used.address);
    // The link has a vector of its own, which nothing happens to.
    host.sh_ok(&format!(
        "(while [ ! -e /tmp/moved ]; do for mask in 1 2; do for irq in $(ls {vectors}); do \
         echo $mask >/proc/irq/$irq/smp_affinity || touch /tmp/refused; done; sleep 0.1; done; done) >/dev/null 2>&1 &"
    ))?;
    let done = talk(used, &interface);
    host.sh_ok("touch /tmp/moved; sleep 0.5; rm /tmp/moved; [ ! -e /tmp/refused ]")?;
    let counts = host.sh_ok(&format!(
        "for irq in $(ls {vectors}); do sed -n \"s/^ *$irq://p\" /proc/interrupts; done | awk '{{ a += $1; b += $2 }} END {{ print a, b }}'"
    ))?;
    let (first, second) = counts.split_once(' ').context("no counts")?;
    ensure!(
        first.parse::<u64>()? > 10 && second.parse::<u64>()? > 10,
        "interrupts taken by the processors: {counts}"
    );
    Ok(format!(
        "{}, {first} and {second} interrupts on two processors",
        done?
    ))
}

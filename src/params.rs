// SPDX-License-Identifier: GPL-2.0

//! The module's parameters, at load and at run time.

use core::{
    fmt::{self, Write},
    net::Ipv6Addr,
    sync::atomic::{AtomicU16, AtomicU32, Ordering},
};

use kernel::prelude::*;

use crate::{
    address::Address,
    linux::{
        alloc::{memory_pages, Array},
        param::{self, Page, Parameters},
        preempt, printk,
        rcu_cell::RcuCell,
    },
    option::Kinds,
    policy::{self, Bad, Range},
};

/// Warnings that are logged once a minute at most.
pub(crate) enum Warning {
    /// An option from a sender that is not trusted.
    Untrusted,
    /// Options of a kind that is not read.
    OtherKind,
    /// A SYN's client had to make room.
    SynDropped,
    /// No memory for a record.
    RecordLost,
}

/// Senders to believe.
struct Trusted {
    v4: Array<Range<u32>>,
    v4_length: usize,
    v6: Array<Range<u128>>,
    v6_length: usize,
}

impl Trusted {
    fn v4(&self) -> &[Range<u32>] {
        self.v4.get(..self.v4_length).unwrap_or_default()
    }

    fn v6(&self) -> &[Range<u128>] {
        self.v6.get(..self.v6_length).unwrap_or_default()
    }
}

/// Local ports to read options on.
struct Ports {
    ranges: Array<Range<u16>>,
    length: usize,
}

impl Ports {
    fn ranges(&self) -> &[Range<u16>] {
        self.ranges.get(..self.length).unwrap_or_default()
    }
}

// The kernel sets parameters before there is anything else of the module.
static KINDS: AtomicU16 = AtomicU16::new(Kinds::DEFAULT.0);
static TRUSTED: RcuCell<Trusted> = RcuCell::empty();
static PORTS: RcuCell<Ports> = RcuCell::empty();
static SYN_MAX: AtomicU32 = AtomicU32::new(BY_MEMORY);
static SYN_SECONDS: AtomicU32 = AtomicU32::new(64);

/// What nobody can set.
const BY_MEMORY: u32 = u32::MAX;
/// The most SYNs that can be kept: 128 MiB of them.
const SYN_MAX_LIMIT: u32 = 1 << 20;
/// An hour, which is longer than any handshake takes.
const SYN_SECONDS_LIMIT: u32 = 3600;

/// The kinds of options that are read.
#[inline(always)]
pub(crate) fn kinds() -> Kinds {
    Kinds(KINDS.load(Ordering::Relaxed))
}

/// Whether options on connections to this local port count; any context.
#[inline(always)]
pub(crate) fn selects(port: impl FnOnce() -> u16) -> bool {
    PORTS.is_empty() || is_selected(port())
}

#[inline(never)]
fn is_selected(port: u16) -> bool {
    let reading = preempt::Disabled::new();
    match PORTS.get(&reading) {
        Some(ports) => policy::contains(ports.ranges(), port),
        None => true,
    }
}

/// Whether options from this address count, which is that of a load balancer; any context.
#[inline(always)]
pub(crate) fn trusts(address: impl FnOnce() -> Address) -> bool {
    everyone_is_trusted() || is_trusted(address())
}

#[inline(never)]
fn is_trusted(address: Address) -> bool {
    let reading = preempt::Disabled::new();
    let Some(trusted) = TRUSTED.get(&reading) else {
        return true;
    };
    let address = Ipv6Addr::from(address);
    match address.to_ipv4_mapped() {
        Some(address) => policy::contains(trusted.v4(), u32::from(address)),
        None => policy::contains(trusted.v6(), u128::from(address)),
    }
}

/// Whether the list of senders to believe is empty.
#[inline(always)]
pub(crate) fn everyone_is_trusted() -> bool {
    TRUSTED.is_empty()
}

/// How many SYNs to keep. Without the parameter, one for 128 KiB of memory: 0.1 % of it, and many times
/// the connections that a server of that size has half open.
pub(crate) fn syn_max() -> usize {
    match SYN_MAX.load(Ordering::Relaxed) {
        BY_MEMORY => (memory_pages() / 32).clamp(1 << 12, 1 << 18),
        max => max as usize,
    }
}

/// For how many seconds to keep them.
pub(crate) fn syn_seconds() -> u32 {
    SYN_SECONDS.load(Ordering::Relaxed)
}

/// Says what is wrong with a value.
fn refuse(name: &str, reason: impl fmt::Display) -> Error {
    printk::print(printk::ERR, format_args!("{name} not changed: {reason}"));
    EINVAL
}

fn set_kinds(text: &str) -> Result {
    let kinds = policy::kinds(text).map_err(|bad| refuse("kinds", bad))?;
    KINDS.store(kinds.0, Ordering::Relaxed);
    Ok(())
}

fn set_trusted(text: &str) -> Result {
    let refuse = |bad: Bad<'_>| refuse("trusted", bad);
    let count = policy::count(text).map_err(refuse)?;
    if count == 0 {
        TRUSTED.replace(None);
        return Ok(());
    }
    let mut trusted = Trusted {
        v4: Array::new(count, Range::default)?,
        v4_length: 0,
        v6: Array::new(count, Range::default)?,
        v6_length: 0,
    };
    (trusted.v4_length, trusted.v6_length) =
        policy::prefixes(text, &mut trusted.v4, &mut trusted.v6).map_err(refuse)?;
    TRUSTED.replace(Some(KBox::new(trusted, GFP_KERNEL)?));
    Ok(())
}

fn set_ports(text: &str) -> Result {
    let refuse = |bad: Bad<'_>| refuse("ports", bad);
    let count = policy::count(text).map_err(refuse)?;
    if count == 0 {
        PORTS.replace(None);
        return Ok(());
    }
    let mut ports = Ports {
        ranges: Array::new(count, Range::default)?,
        length: 0,
    };
    ports.length = policy::ports(text, &mut ports.ranges).map_err(refuse)?;
    PORTS.replace(Some(KBox::new(ports, GFP_KERNEL)?));
    Ok(())
}

fn set_number(
    name: &str,
    place: &AtomicU32,
    text: &str,
    lowest: u32,
    limit: u32,
    reason: &'static str,
) -> Result {
    let text = text.trim_end_matches('\n');
    let number = text
        .parse()
        .ok()
        .filter(|number| (lowest..=limit).contains(number))
        .ok_or_else(|| refuse(name, Bad::Item(text, reason)))?;
    place.store(number, Ordering::Relaxed);
    Ok(())
}

/// The parameters.
struct Params;

impl Parameters for Params {
    fn set(parameter: u32, text: &str) -> Result {
        if param::may_be_part(text) {
            // The others are not for writing.
            let name = match parameter {
                param::KINDS => "kinds",
                param::TRUSTED => "trusted",
                _ => "ports",
            };
            return Err(refuse(
                name,
                "longer than what /sys takes, which is less than a page: give it when the module is loaded",
            ));
        }
        match parameter {
            param::KINDS => set_kinds(text),
            param::TRUSTED => set_trusted(text),
            param::PORTS => set_ports(text),
            param::SYN_MAX => set_number(
                "syn_max",
                &SYN_MAX,
                text,
                0,
                SYN_MAX_LIMIT,
                "is no number from 0 to 1048576",
            ),
            param::SYN_SECONDS => set_number(
                "syn_seconds",
                &SYN_SECONDS,
                text,
                1,
                SYN_SECONDS_LIMIT,
                "is no number from 1 to 3600",
            ),
            _ => Err(EINVAL),
        }
    }

    fn show(parameter: u32, out: &mut Page) -> fmt::Result {
        let reading = preempt::Disabled::new();
        match parameter {
            param::KINDS => write!(out, "{}", kinds()),
            param::TRUSTED => match TRUSTED.get(&reading) {
                Some(trusted) => policy::write_prefixes(trusted.v4(), trusted.v6(), out),
                None => Ok(()),
            },
            param::PORTS => match PORTS.get(&reading) {
                Some(ports) => policy::write_ports(ports.ranges(), out),
                None => Ok(()),
            },
            param::SYN_MAX => write!(out, "{}", syn_max()),
            param::SYN_SECONDS => write!(out, "{}", syn_seconds()),
            _ => Ok(()),
        }
    }

    fn free(parameter: u32) {
        match parameter {
            param::TRUSTED => TRUSTED.replace(None),
            param::PORTS => PORTS.replace(None),
            _ => {}
        }
    }
}

param::parameters!(Params);

// SPDX-License-Identifier: GPL-2.0

//! Reads option spaces, for comparison with what others find in them: each line of the input is 1 for
//! a segment with SYN or 0, the kinds, and the bytes in hexadecimal; each line of the output is what
//! `read` finds there.

use std::{
    error::Error,
    io::{self, Write},
};

#[expect(dead_code, reason = "the module has further uses for it")]
#[path = "../../../src/address.rs"]
mod address;
#[expect(dead_code, reason = "the module has further uses for it")]
#[path = "../../../src/option.rs"]
mod option;
#[expect(dead_code, reason = "the module has further uses for it")]
#[path = "../../../src/policy.rs"]
mod policy;

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lines() {
        let line = line?;
        let mut words = line.split(' ');
        let mut word = || words.next().ok_or("a word is missing");
        let syn = word()? == "1";
        let kinds = policy::kinds(word()?).map_err(|bad| bad.to_string())?;
        let digits = word()?.as_bytes();
        let header = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair)?, 16).map_err(Box::from))
            .collect::<Result<Vec<_>, Box<dyn Error>>>()?;

        let reading = option::read(&header, syn, kinds);
        write!(out, "{} [{}]", reading.malformed, reading.seen)?;
        if let Some(client) = reading.client {
            write!(out, " {} {}", client.kind, client.address)?;
            write!(
                out,
                " {}",
                client.port.map_or("-".into(), |port| port.to_string())
            )?;
            if let Some(service) = client.service {
                write!(out, " {} {} {}", service.address, service.port, service.vpc)?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0

//! Lines in the kernel log. All begin with `TOA: `, which is what operators grep for.

use core::{
    ffi::CStr,
    fmt::{self, Write},
};

use kernel::{error::Error, ffi::c_int};

use super::bindings;

/// A level of the kernel log, as `printk` takes it (include/linux/kern_levels.h).
pub(crate) struct Level(&'static CStr);

/// Something an operator may want to know (`KERN_INFO`).
pub(crate) const INFO: Level = Level(c"\x016");
/// Something that an operator should change (`KERN_WARNING`).
pub(crate) const WARNING: Level = Level(c"\x014");
/// Something that did not work (`KERN_ERR`).
pub(crate) const ERR: Level = Level(c"\x013");

/// The text of one line. What does not fit is cut, as the kernel log itself does.
struct Line {
    text: [u8; 256],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let free = self.text.get_mut(self.length..).unwrap_or_default();
        let length = part.len().min(free.len());
        for (to, from) in free.iter_mut().zip(part.as_bytes()) {
            *to = *from;
        }
        self.length += length;
        Ok(())
    }
}

/// Logs one line; any context.
pub(crate) fn print(level: Level, text: fmt::Arguments<'_>) {
    let mut line = Line {
        text: [0; 256],
        length: 0,
    };
    // `Line` takes any text, and a value that cannot be formatted leaves a shorter line.
    let _ = line.write_fmt(text);

    // SAFETY: `line` holds so many bytes.
    unsafe {
        bindings::rust_helper_printk(
            level.0.as_ptr().cast(),
            line.length as c_int,
            line.text.as_ptr(),
        )
    };
}

/// Logs one line at level warning, unless one with the same `number` was logged within the last minute;
/// any context.
#[cold]
#[inline(never)]
pub(crate) fn warn_seldom(number: u32, text: fmt::Arguments<'_>) {
    // SAFETY: Takes any number.
    if !unsafe { bindings::rust_helper_limited(number) } {
        print(WARNING, text);
    }
}

/// Says in one line which step of loading failed and what helps; hands the error on.
pub(crate) fn failed(step: fmt::Arguments<'_>, error: Error, remedy: &str) -> Error {
    print(
        ERR,
        format_args!("not loaded: {step} failed ({error:?}): {remedy}"),
    );
    error
}

/// Logs a line at level info.
macro_rules! info {
    ($($text:tt)+) => {
        $crate::linux::printk::print($crate::linux::printk::INFO, format_args!($($text)+))
    };
}
pub(crate) use info;

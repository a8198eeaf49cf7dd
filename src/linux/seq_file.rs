// SPDX-License-Identifier: GPL-2.0

//! Text that a file under /proc shows.

use core::fmt;

use super::bindings;

/// The text of an open file that is being read.
///
/// # Invariants
///
/// Points to a `struct seq_file` that nobody else uses meanwhile.
pub(crate) struct SeqFile(*mut bindings::seq_file);

impl SeqFile {
    /// # Safety
    ///
    /// `file` is that of a `show` callback under way.
    pub(super) unsafe fn from_raw(file: *mut bindings::seq_file) -> Self {
        // INVARIANT: The caller of `show` holds the file's lock.
        Self(file)
    }
}

impl fmt::Write for SeqFile {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        // When the buffer is full, the kernel calls `show` again with a larger one.
        // SAFETY: By the invariant; the call copies so many bytes.
        unsafe { bindings::seq_write(self.0, part.as_ptr().cast(), part.len()) };
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0
module server

// From 1.24 on, listeners speak MPTCP unless told otherwise.
go 1.24

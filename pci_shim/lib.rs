// SPDX-License-Identifier: GPL-2.0

//! The fake host bridge.

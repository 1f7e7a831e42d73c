// SPDX-License-Identifier: GPL-2.0

//! What crosses the bridge.

// SPDX-License-Identifier: GPL-2.0

//! Nothing but tests, in `tests/`: the scripts beside this package are what is packaged.

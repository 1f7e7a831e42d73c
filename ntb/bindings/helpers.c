// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros that Rust cannot call. A counterpart of rust/helpers/.
 */
#include "bindings_helper.h"

#ifndef __rust_helper
#define __rust_helper
#endif

#include "helpers/base.c"
#include "helpers/dma.c"
#include "helpers/key.c"
#include "helpers/ntb.c"
#include "helpers/pci_shim.c"

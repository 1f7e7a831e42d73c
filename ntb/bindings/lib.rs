// SPDX-License-Identifier: GPL-2.0

//! Bindings to the C functions and types that the kernel's own `bindings` crate leaves out or leaves opaque.
//!
//! A counterpart of `rust/bindings/lib.rs`. Local definitions shadow the kernel's opaque ones of the same name.

#![allow(
    clippy::all,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    improper_ctypes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr
)]
#![cfg_attr(CONFIG_RUSTC_HAS_UNNECESSARY_TRANSMUTES, allow(unnecessary_transmutes))]

mod raw {
    pub use super::helpers::*;
    pub use kernel::bindings::*;

    use kernel::ffi;
    use pin_init::MaybeZeroable;

    include!(concat!(
        env!("DEVLEND_OBJ"),
        "/ntb/bindings/bindings_generated.rs"
    ));
}

mod helpers {
    use super::raw::*;
    use kernel::ffi;

    include!(concat!(
        env!("DEVLEND_OBJ"),
        "/ntb/bindings/helpers_generated.rs"
    ));
}

pub use raw::*;

pub mod series;

//! `trap panic|unreachable|memory|stack|signature`: ends in a trap of that kind.
//!
//! Each goes through a function of its own that is not inlined, and the names
//! stay in the module, so that the frames of the traps can be told apart.

use std::{env, process, ptr};

/// Hides a value from the optimiser.
fn opaque<T: Copy>(value: T) -> T {
    unsafe { ptr::read_volatile(&value) }
}

#[inline(never)]
fn by_panic() {
    panic!("asked to panic");
}

#[inline(never)]
fn by_unreachable() {
    core::arch::wasm32::unreachable();
}

#[inline(never)]
fn by_memory() {
    // The last bytes of the 4 GiB address space: no guest has that much memory.
    let address = opaque(0xffff_fff0_usize) as *const u32;
    unsafe { address.read_volatile() };
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn by_stack(depth: u64) -> u64 {
    let page = opaque([depth; 64]);
    by_stack(opaque(depth + 1)) + page[(depth % 64) as usize]
}

#[inline(never)]
fn by_signature() {
    // An indirect call with the wrong type: WebAssembly checks it, native code would not.
    let wrong: fn(u64, u64) -> u64 = unsafe { std::mem::transmute(by_panic as fn()) };
    opaque(opaque(wrong)(1, 2));
}

fn main() {
    // Before the trap, so that a test sees that earlier output is not lost.
    println!("about to trap");
    match env::args().nth(1).as_deref() {
        Some("panic") => by_panic(),
        Some("unreachable") => by_unreachable(),
        Some("memory") => by_memory(),
        Some("stack") => println!("{}", by_stack(0)),
        Some("signature") => by_signature(),
        _ => {
            eprintln!("usage: trap panic|unreachable|memory|stack|signature");
            process::exit(2);
        }
    }
}

//! Prints `spinning` and then computes for ever without a system call.

use std::ptr;

fn main() {
    println!("spinning");
    let mut turns = 0u64;
    loop {
        // Volatile, so that the loop has an effect and is not optimised away.
        unsafe { ptr::write_volatile(&mut turns, ptr::read_volatile(&turns).wrapping_add(1)) };
    }
}

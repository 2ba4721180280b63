//! Takes memory, one mebibyte at a time and written to, until it is refused.
//!
//! Then prints how much there was and ends with exit code 1. `membomb COUNT`
//! stops after COUNT mebibytes and ends with 0.

use std::{env, process};

const MEBIBYTE: usize = 1 << 20;

fn main() {
    let wanted = env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(usize::MAX);
    let mut held: Vec<Vec<u8>> = Vec::new();
    while held.len() < wanted {
        let mut block = Vec::new();
        if held.try_reserve(1).is_err() || block.try_reserve_exact(MEBIBYTE).is_err() {
            println!("refused after {} MiB", held.len());
            process::exit(1);
        }
        block.resize(MEBIBYTE, 0xa5);
        held.push(block);
    }
    println!("got {} MiB", held.len());
}

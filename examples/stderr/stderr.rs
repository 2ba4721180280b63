//! Writes `out N` to stdout and `err N` to stderr in turn, N from 1 to the argument (default 3).

use std::env;

fn main() {
    let count = env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(3u32);
    for number in 1..=count {
        println!("out {number}");
        eprintln!("err {number}");
    }
}

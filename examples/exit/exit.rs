//! `exit CODE`: ends with that exit code (0 without an argument).

use std::{env, process};

fn main() {
    let code = env::args().nth(1).map_or(0, |text| {
        text.parse().unwrap_or_else(|_| {
            eprintln!("exit: not an exit code: {text}");
            process::exit(2)
        })
    });
    process::exit(code);
}

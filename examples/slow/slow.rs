//! `slow MILLISECONDS [COUNT]`: one line after each pause, flushed at once.
//!
//! With COUNT the lines are `line 1` to `line COUNT`; without it the lines are
//! those of stdin, so that the program answers while its input is still open.

use std::io::{self, BufRead, Write};
use std::thread::sleep;
use std::time::Duration;
use std::{env, process};

fn number(position: usize) -> Option<u64> {
    env::args().nth(position).map(|text| {
        text.parse().unwrap_or_else(|_| {
            eprintln!("slow: not a number: {text}");
            process::exit(2)
        })
    })
}

fn say(pause: Duration, line: &str) -> io::Result<()> {
    sleep(pause);
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn main() -> io::Result<()> {
    let pause = Duration::from_millis(number(1).unwrap_or(100));
    if let Some(count) = number(2) {
        return (1..=count).try_for_each(|index| say(pause, &format!("line {index}")));
    }
    io::stdin()
        .lock()
        .lines()
        .try_for_each(|line| say(pause, &line?))
}

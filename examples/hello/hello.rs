//! Prints a greeting, its arguments in order and its environment sorted by name.

use std::env;
use std::io::{self, Write};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "Hello from a Keep!")?;
    for (index, argument) in env::args().enumerate() {
        writeln!(out, "arg {index}: {argument}")?;
    }
    let mut variables: Vec<_> = env::vars().collect();
    variables.sort();
    for (name, value) in variables {
        writeln!(out, "env {name}={value}")?;
    }
    out.flush()
}

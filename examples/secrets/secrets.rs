//! `secrets [FILE]`: prints the environment variable FOO and, if named, the file.
//!
//! Exit code 1 when FOO is not set, 2 when the file cannot be read.

use std::io::{self, Write};
use std::{env, fs, process};

fn main() -> io::Result<()> {
    let mut code = 0;
    match env::var("FOO") {
        Ok(value) => println!("FOO={value}"),
        Err(_) => {
            eprintln!("FOO is not set");
            code = 1;
        }
    }
    if let Some(path) = env::args().nth(1) {
        match fs::read(&path) {
            Ok(content) => io::stdout().write_all(&content)?,
            Err(error) => {
                eprintln!("{path}: {error}");
                code = 2;
            }
        }
    }
    io::stdout().flush()?;
    process::exit(code)
}

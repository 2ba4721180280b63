//! Copies stdin to stdout, byte for byte, in constant memory, each piece as soon as it comes.

use std::io::{self, ErrorKind, Read, Write};

fn main() -> io::Result<()> {
    let mut buffer = vec![0u8; 64 * 1024];
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => output.write_all(&buffer[..count])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        // Rust's stdout keeps what follows the last newline.
        output.flush()?;
    }
}

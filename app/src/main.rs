//! The server binary of Safety.

use std::process::ExitCode;

fn main() -> ExitCode {
    safety::cli::main()
}

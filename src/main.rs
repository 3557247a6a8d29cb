//! The `trunkline` binary. Everything it does is in the library, so that an embedder gets the same server.

use std::process::ExitCode;

fn main() -> ExitCode {
    trunkline::cli::main()
}

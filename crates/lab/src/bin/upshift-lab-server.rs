//! The lab server's process; see `upshift_lab::server`.

fn main() -> std::process::ExitCode {
    upshift_lab::server::main()
}

//! Places at which a test can kill or delay the agent: `UPSHIFT_FAILPOINT="name=abort,other=delay:200"`.
//!
//! Only tests are built with them. `abort` ends the process at once, as `kill -9` does: nothing is cleaned up.

/// The variable that names them.
#[cfg(feature = "failpoints")]
const VARIABLE: &str = "UPSHIFT_FAILPOINT";

/// Does what the environment says for this place; nothing in a release.
#[cfg(not(feature = "failpoints"))]
pub fn hit(_name: &str) {}

/// Does what the environment says for this place; nothing in a release.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    let Ok(points) = std::env::var(VARIABLE) else {
        return;
    };
    let action = points
        .split(',')
        .filter_map(|point| point.split_once('='))
        .find(|(point, _)| *point == name);
    match action.map(|(_, action)| action) {
        Some("abort") => {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        Some(action) => {
            let delay = action
                .strip_prefix("delay:")
                .and_then(|delay| delay.parse().ok())
                .unwrap_or(0);
            std::thread::sleep(std::time::Duration::from_millis(delay));
        }
        None => {}
    }
}

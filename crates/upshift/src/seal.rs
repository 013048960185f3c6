//! Plan files are sealed by the journal that they were made beside, so that a file that somebody else wrote, or changed, is not taken
//! for one of them.
//!
//! The seal is an HMAC-SHA256 (RFC 2104) over the plan, with a key that lies beside the journal and never leaves it. It says that a
//! plan was made here, and holds off nobody who can read that key.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use upshift_plan::Plan;

/// File beside the journal that holds the key.
const KEY: &str = "plan.key";
/// The member of a plan file that holds the seal.
pub const MEMBER: &str = "seal";
/// Bytes of a key.
const LENGTH: usize = 32;

/// What a plan file's seal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// The plan is as it was made beside this journal.
    Ours,
    /// There is none.
    Absent,
    /// It is not this journal's, or the plan was changed.
    Other,
}

/// The seal of a plan by the key of a state directory, which is made where there is none.
///
/// # Errors
/// Where the key cannot be read or made.
pub fn of(plan: &Plan, state_directory: &Path) -> io::Result<String> {
    let key = match read_key(state_directory)? {
        Some(key) => key,
        None => make_key(state_directory)?,
    };
    let code = keyed(&key, plan)?.finalize().into_bytes();
    Ok(code.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What the seal of a plan file says of the plan that was read from it.
///
/// # Errors
/// Where the key is there and cannot be read.
pub fn check(file: &Value, plan: &Plan, state_directory: &Path) -> io::Result<Seal> {
    let Some(seal) = file.get(MEMBER).and_then(Value::as_str) else {
        return Ok(Seal::Absent);
    };
    let (Some(key), Some(bytes)) = (read_key(state_directory)?, bytes(seal)) else {
        return Ok(Seal::Other);
    };
    // Compared in constant time.
    Ok(match keyed(&key, plan)?.verify_slice(&bytes) {
        Ok(()) => Seal::Ours,
        Err(_) => Seal::Other,
    })
}

fn keyed(key: &[u8], plan: &Plan) -> io::Result<Hmac<Sha256>> {
    // What is executed is what was read, so the seal is over that, and not over the text.
    let text = serde_json::to_vec(plan)?;
    let mut code = Hmac::<Sha256>::new_from_slice(key).map_err(io::Error::other)?;
    code.update(&text);
    Ok(code)
}

fn bytes(seal: &str) -> Option<Vec<u8>> {
    let digits = seal.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn read_key(state_directory: &Path) -> io::Result<Option<Vec<u8>>> {
    let path = state_directory.join(KEY);
    match fs::read(&path) {
        Ok(key) if key.len() == LENGTH => Ok(Some(key)),
        Ok(_) => Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("{} is not a key of {LENGTH} bytes", path.display()),
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a key; where another program makes one at the same time, the first one counts for both.
fn make_key(state_directory: &Path) -> io::Result<Vec<u8>> {
    fs::create_dir_all(state_directory)?;
    let mut key = vec![0; LENGTH];
    fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(state_directory)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(state_directory.join(KEY)) {
        Ok(_) => Ok(key),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
            read_key(state_directory)?.ok_or_else(|| ErrorKind::NotFound.into())
        }
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(version: &str) -> Plan {
        serde_json::from_value(serde_json::json!({
            "format": upshift_plan::PLAN_FORMAT, "product": "p", "title": "P", "scheme": "semver", "fleet": "f",
            "request": {"to": version}, "facts": "", "fingerprint": "", "nodes": [], "recipes": [], "prepare": [], "hops": [],
            "finalize": [], "finalize_notes": [], "warnings": [], "estimate": upshift_plan::Estimate::default(),
        }))
        .unwrap()
    }

    #[test]
    fn a_plan_is_known_again_and_a_changed_one_or_one_from_elsewhere_is_not() {
        let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let made = plan("1.0.0");
        let seal = of(&made, here.path()).unwrap();
        assert_eq!(of(&made, here.path()).unwrap(), seal, "the key is kept");
        let mut file = serde_json::to_value(&made).unwrap();
        assert_eq!(check(&file, &made, here.path()).unwrap(), Seal::Absent);
        file[MEMBER] = seal.clone().into();
        assert_eq!(check(&file, &made, here.path()).unwrap(), Seal::Ours);
        assert_eq!(check(&file, &plan("2.0.0"), here.path()).unwrap(), Seal::Other);
        assert_eq!(
            check(&file, &made, elsewhere.path()).unwrap(),
            Seal::Other,
            "no key is there"
        );
        of(&made, elsewhere.path()).unwrap();
        assert_eq!(check(&file, &made, elsewhere.path()).unwrap(), Seal::Other);
        for wrong in ["", "zz", "ä", &seal[2..]] {
            file[MEMBER] = wrong.into();
            assert_eq!(check(&file, &made, here.path()).unwrap(), Seal::Other, "{wrong}");
        }
        let mode = fs::metadata(here.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(here.path().join(KEY), "short").unwrap();
        assert!(of(&made, here.path()).is_err() && check(&file, &made, here.path()).is_err());
    }
}

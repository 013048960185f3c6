//! The restic program on this machine, which is sent to hosts that have none.

use std::path::PathBuf;

use upshift_model::action::Artifact;
use upshift_wire::binary::identify;

/// The variable that names it.
const VARIABLE: &str = "UPSHIFT_RESTIC";
/// Name and version of the artifact: what it is, is told by its digest.
const NAME: &str = "restic";

/// The program that the environment names, or that lies where programs are looked for.
pub fn find() -> Option<(Artifact, PathBuf)> {
    let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
    let path = match named {
        Some(path) => Some(PathBuf::from(path)),
        None => {
            let places = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&places)
                .map(|directory| directory.join(NAME))
                .find(|path| path.is_file())
        }
    }?;
    let identity = identify(&path).ok()?;
    let artifact = Artifact {
        file_name: NAME.to_owned(),
        version: NAME.to_owned(),
        variant: [
            ("arch".to_owned(), std::env::consts::ARCH.to_owned()),
            ("os".to_owned(), "linux".to_owned()),
        ]
        .into(),
        sha256: identity.sha256,
        size: identity.size,
    };
    Some((artifact, path))
}

//! Parts of a release that are read out of a file inside its package.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::Context;
use flate2::read::GzDecoder;
use upshift_model::package::PackageName;
use upshift_model::profile::PackageRule;

/// The most of a file inside a package that is read; what tells a part is a short text.
const MOST: u64 = 4 << 20;

/// The parts that the rule wants from inside the package. A part is absent where its file is.
pub fn parts(
    rule: &PackageRule,
    package: &PackageName,
    path: &Path,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut wanted = BTreeMap::new();
    for (name, part) in &rule.inside {
        wanted.insert(name, part.path(package)?);
    }
    let texts = read(path, &wanted.values().cloned().collect::<Vec<_>>())
        .with_context(|| format!("`{}` cannot be looked into", path.display()))?;
    let mut parts = BTreeMap::new();
    for (name, file) in wanted {
        if let Some(text) = texts.get(&file)
            && let Some(value) = rule.inside[name].value(text)?
        {
            parts.insert(name.clone(), value);
        }
    }
    Ok(parts)
}

/// The text of the file that has this path once the package is unpacked without so many leading directories.
pub fn unpacked(path: &Path, strip: u32, file: &str) -> anyhow::Result<Option<String>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(".zip") {
        let mut archive = zip::ZipArchive::new(BufReader::new(File::open(path)?))?;
        let names: Vec<String> = archive
            .file_names()
            .filter_map(|entry| Some(entry.ok()?.into_owned()))
            .collect();
        let found = names
            .into_iter()
            .find(|entry| stripped(entry, strip) == Some(file));
        return match found {
            Some(found) => Ok(Some(text(archive.by_name(&found)?)?)),
            None => Ok(None),
        };
    }
    let reader: Box<dyn Read> = if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        Box::new(GzDecoder::new(BufReader::new(File::open(path)?)))
    } else if name.ends_with(".tar") {
        Box::new(BufReader::new(File::open(path)?))
    } else {
        return Ok(None);
    };
    for entry in tar::Archive::new(reader).entries()? {
        let entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        if stripped(path.trim_start_matches("./"), strip) == Some(file) {
            return Ok(Some(text(entry)?));
        }
    }
    Ok(None)
}

/// A path without its leading directories.
fn stripped(path: &str, strip: u32) -> Option<&str> {
    (0..strip).try_fold(path, |rest, _| Some(rest.split_once('/')?.1))
}

/// The texts of these files of an archive, as far as they are there. Packages of other kinds have none.
fn read(path: &Path, files: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if files.is_empty() {
        Ok(BTreeMap::new())
    } else if name.ends_with(".zip") {
        zipped(File::open(path)?, files)
    } else if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        tarred(GzDecoder::new(BufReader::new(File::open(path)?)), files)
    } else if name.ends_with(".tar") {
        tarred(BufReader::new(File::open(path)?), files)
    } else {
        Ok(BTreeMap::new())
    }
}

fn zipped(file: File, files: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut archive = zip::ZipArchive::new(BufReader::new(file))?;
    let mut texts = BTreeMap::new();
    for name in files {
        match archive.by_name(name) {
            Ok(entry) => {
                texts.insert(name.clone(), text(entry)?);
            }
            Err(zip::result::ZipError::FileNotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(texts)
}

fn tarred(reader: impl Read, files: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for entry in tar::Archive::new(reader).entries()? {
        let entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let name = path.trim_start_matches("./");
        if files.iter().any(|file| file == name) {
            texts.insert(name.to_owned(), text(entry)?);
            if texts.len() == files.len() {
                break;
            }
        }
    }
    Ok(texts)
}

fn text(reader: impl Read) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    reader.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use upshift_model::package::PackageRules;
    use upshift_model::profile::{self, Profile};

    use super::*;

    const RELUP: &str = r#"{"4.4.19",[{"4.4.16",[],[point_of_no_return]}],[{"4.4.16",[],[]}]}."#;

    fn emqx() -> Profile {
        let (name, text) = profile::shipped()
            .iter()
            .find(|(name, _)| *name == "emqx.yaml")
            .unwrap();
        profile::parse(name, text).unwrap()
    }

    fn parts_of(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
        let profile = emqx();
        let rules = PackageRules::parse(profile.versions.scheme, &profile.packages).unwrap();
        let (rule, package) = rules.read("emqx-4.4.19-otp24.3.4.2-1-el8-amd64.zip").unwrap();
        parts(&profile.packages[rule], &package, path)
    }

    fn zip_with(path: &Path, file: &str) {
        let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file("emqx/bin/emqx", options).unwrap();
        zip.write_all(b"#!/bin/sh\n").unwrap();
        zip.start_file(file, options).unwrap();
        zip.write_all(RELUP.as_bytes()).unwrap();
        zip.finish().unwrap();
    }

    #[test]
    fn a_relup_in_a_zip_tells_its_sources() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("emqx.zip");
        zip_with(&path, "emqx/releases/4.4.19/relup");
        let parts = parts_of(&path).unwrap();
        assert_eq!(
            (parts["relup"].as_str(), parts["relup_back"].as_str()),
            ("4.4.16", "4.4.16")
        );
        zip_with(&path, "emqx/releases/4.4.18/relup");
        assert!(parts_of(&path).unwrap().is_empty());
    }

    #[test]
    fn a_relup_in_a_tarball_is_found_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("emqx.tar.gz");
        let gzip = GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gzip);
        let mut header = tar::Header::new_gnu();
        header.set_size(RELUP.len() as u64);
        tar.append_data(&mut header, "./emqx/releases/4.4.19/relup", RELUP.as_bytes())
            .unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        assert_eq!(parts_of(&path).unwrap()["relup"], "4.4.16");
    }

    #[test]
    fn a_file_is_found_by_its_path_in_the_unpacked_release() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("emqx.zip");
        zip_with(&path, "emqx/etc/emqx.conf");
        assert_eq!(
            unpacked(&path, 1, "etc/emqx.conf").unwrap().as_deref(),
            Some(RELUP)
        );
        assert_eq!(unpacked(&path, 0, "etc/emqx.conf").unwrap(), None);
        assert_eq!(unpacked(&path, 3, "etc/emqx.conf").unwrap(), None);
    }

    #[test]
    fn a_broken_package_is_told_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("emqx.zip");
        std::fs::write(&path, "no archive").unwrap();
        assert!(parts_of(&path).unwrap_err().to_string().contains("emqx.zip"));
    }
}

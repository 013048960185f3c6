//! The fleet that is meant, and the product on it.

use std::path::Path;

use upshift_model::fleet::{Fleet, InventoryFiles, SameHost};
use upshift_model::profile::Profile;

use crate::args::Global;
use crate::exit::{Failure, Problem};
use crate::files;
use crate::profiles;

/// Reads a fleet file or an Ansible inventory, with the files beside it.
pub fn read(path: &Path) -> Result<Fleet, Failure> {
    if !path.exists() {
        return Err(Failure::Usage(
            Problem::new("there is no fleet file")
                .at(path.display())
                .next("write one with `upshift init`, or name yours, or an Ansible inventory, with --fleet"),
        ));
    }
    if path.is_dir() {
        let mut texts = Vec::new();
        parts(path, "", &mut texts)?;
        return Fleet::from_directory(&path.display().to_string(), &texts, &variables(path)?)
            .map_err(|mistakes| Failure::Mistakes(profiles::rendered(&mistakes)));
    }
    let text = files::read_text(path, "fleet file")?;
    let beside = beside(path)?;
    Fleet::from_text(&path.display().to_string(), &text, &beside)
        .map_err(|mistakes| Failure::Mistakes(profiles::rendered(&mistakes)))
}

/// The variable files beside an inventory.
fn beside(path: &Path) -> Result<InventoryFiles, Failure> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    variables(directory)
}

/// The variable files in a directory.
fn variables(directory: &Path) -> Result<InventoryFiles, Failure> {
    let mut found = InventoryFiles::none();
    for name in InventoryFiles::DIRECTORIES {
        collect(directory, name, &mut found)?;
    }
    Ok(found)
}

/// The files of an inventory that is a directory, by their path in it.
fn parts(base: &Path, relative: &str, found: &mut Vec<(String, String)>) -> Result<(), Failure> {
    for entry in std::fs::read_dir(base.join(relative))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !InventoryFiles::is_part(&name) {
            continue;
        }
        let relative = match relative {
            "" => name,
            above => format!("{above}/{name}"),
        };
        let path = base.join(&relative);
        if path.is_dir() {
            parts(base, &relative, found)?;
        } else {
            found.push((relative, files::read_text(&path, "inventory")?));
        }
    }
    Ok(())
}

fn collect(base: &Path, relative: &str, found: &mut InventoryFiles) -> Result<(), Failure> {
    let Ok(entries) = std::fs::read_dir(base.join(relative)) else {
        // No such directory: most fleets have none.
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let relative = format!("{relative}/{}", entry.file_name().to_string_lossy());
        let path = base.join(&relative);
        if path.is_dir() {
            collect(base, &relative, found)?;
        } else if InventoryFiles::wants(&relative) {
            found.insert(relative, files::read_text(&path, "variable file")?);
        }
    }
    Ok(())
}

/// The group of the fleet whose hosts are the product's servers.
pub fn group(profile: &Profile) -> &str {
    profile.group.as_deref().unwrap_or(&profile.product)
}

/// The profile of the product that is meant: the named one, or the only one that the fleet has servers of.
/// Its servers are hosts of their own: two names of its group for one host are refused.
pub fn product(global: &Global, fleet: &Fleet) -> Result<Profile, Failure> {
    let profile = meant(global, fleet)?;
    match fleet.same_host_twice(group(&profile)).into_iter().next() {
        None => Ok(profile),
        Some(SameHost { first, second, how }) => Err(Failure::Usage(
            Problem::new(format!("`{second}` is the same host as `{first}`"))
                .at(global.fleet.display())
                .because(how)
                .next("give it its own address, or its own state directory, or take one of the two out of the group"),
        )),
    }
}

fn meant(global: &Global, fleet: &Fleet) -> Result<Profile, Failure> {
    if let Some(own) = &global.profile {
        let profile = profiles::choose("", Some(own))?;
        return match &global.product {
            Some(product) if *product != profile.product => Err(Failure::Usage(
                Problem::new(format!(
                    "--product says `{product}`, the profile is for `{}`",
                    profile.product
                ))
                .at(own.display())
                .next("give the one or the other"),
            )),
            _ => Ok(profile),
        };
    }
    if let Some(product) = &global.product {
        return profiles::choose(product, None);
    }
    let mut served: Vec<Profile> = profiles::shipped()?
        .into_iter()
        .filter(|profile| fleet.servers(group(profile)).next().is_some())
        .collect();
    match (served.pop(), served.is_empty()) {
        (Some(profile), true) => Ok(profile),
        (Some(last), false) => {
            let names: Vec<String> = served
                .into_iter()
                .chain([last])
                .map(|profile| profile.product)
                .collect();
            Err(Failure::Usage(
                Problem::new(format!(
                    "the fleet `{}` has servers of several products",
                    fleet.name
                ))
                .because(names.join(", "))
                .next("say which one with --product"),
            ))
        }
        (None, _) => Err(no_product(global, fleet)),
    }
}

fn no_product(global: &Global, fleet: &Fleet) -> Failure {
    let groups: std::collections::BTreeSet<&str> = fleet
        .hosts
        .values()
        .flat_map(|host| &host.groups)
        .map(String::as_str)
        .collect();
    let groups = if groups.is_empty() {
        "its hosts are in no group".to_owned()
    } else {
        format!(
            "its groups are: {}",
            groups.into_iter().collect::<Vec<_>>().join(", ")
        )
    };
    Failure::Usage(
        Problem::new(format!("the fleet `{}` has no servers of a known product", fleet.name))
            .at(global.fleet.display())
            .because(groups)
            .next("put the servers into the group named like the product (`upshift profile ls`), or give --profile FILE"),
    )
}

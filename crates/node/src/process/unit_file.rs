//! Letting systemd start a service from the release store: a drop-in of our own beside the unit, the unit itself untouched.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use upshift_model::action::MoveUnit;

use super::systemd::{self, systemctl};
use crate::durable;
use crate::error::{Context, NodeError, Result};

/// Where an administrator's changes of units lie; what stands there wins over the packages' own.
const UNITS: &str = "/etc/systemd/system";
/// The last of them counts, and their order is that of their names.
const NAME: &str = "zz-upshift.conf";
const HEADER: &str = "# Written by Upshift: the service is started from the release store.\n# Without this file it is started as its unit says.\n";

/// Has systemd start the service from the store; `unit` (null where none runs it) and `program` are what was done.
///
/// # Errors
/// Where the unit starts something else than the program of that name, or cannot be changed.
pub fn move_over(order: &MoveUnit) -> Result<Value> {
    if order.unit.is_empty() {
        return Ok(json!({ "unit": null, "program": order.program }));
    }
    let drop_in = drop_in(&order.unit)?;
    // What our own file says is not what the unit says.
    let text = without(&systemctl(&["cat", "--", &order.unit])?, &drop_in);
    let line = through_store(&text, &order.program).map_err(|why| {
        NodeError::refused(format!(
            "{} cannot be moved to the release store: {why}. Let it start {} by hand (`systemctl edit {}`), and restart it",
            order.unit, order.program, order.unit
        ))
    })?;
    if let Some(directory) = drop_in.parent() {
        fs::create_dir_all(directory).context(|| format!("cannot make {}", directory.display()))?;
    }
    durable::write(
        &drop_in,
        format!("{HEADER}[Service]\nExecStart=\n{line}\n").as_bytes(),
    )?;
    readable_by_all(&drop_in)?;
    systemctl(&["daemon-reload"])?;
    Ok(json!({ "unit": order.unit, "program": order.program }))
}

/// Has systemd start the service as its unit says.
///
/// # Errors
/// Where the drop-in cannot be removed.
pub fn take_back(order: &MoveUnit) -> Result<Value> {
    if order.unit.is_empty() || !systemd::runs() {
        return Ok(json!({ "unit": null }));
    }
    let drop_in = drop_in(&order.unit)?;
    if fs::read_to_string(&drop_in).is_ok_and(|text| text.starts_with(HEADER)) {
        durable::remove(&drop_in)?;
        // The directory stays where it holds anything else.
        let _ = drop_in.parent().map(fs::remove_dir);
        systemctl(&["daemon-reload"])?;
    }
    Ok(json!({ "unit": order.unit }))
}

fn drop_in(unit: &str) -> Result<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | ':' | '\\');
    if !unit.chars().all(plain) || unit.starts_with('.') {
        return Err(NodeError::refused(format!("`{unit}` is no name of a unit")));
    }
    Ok(Path::new(UNITS).join(format!("{unit}.d")).join(NAME))
}

fn readable_by_all(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        .context(|| format!("cannot set the mode of {}", path.display()))
}

/// What `systemctl cat` prints, without one of the files: each begins with its path as a comment.
fn without(text: &str, file: &Path) -> String {
    let mut kept = String::new();
    let mut left_out = false;
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("# /") {
            left_out = Path::new("/").join(path) == file;
        }
        if !left_out {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The line that starts a program in the place of the unit's own one, with the arguments as they stand there.
fn through_store(unit: &str, program: &str) -> std::result::Result<String, String> {
    let mut commands: Vec<String> = Vec::new();
    let mut lines = unit.lines();
    while let Some(line) = lines.next() {
        let Some(value) = line.trim_start().strip_prefix("ExecStart").map(str::trim_start) else {
            continue;
        };
        let Some(value) = value.strip_prefix('=') else {
            continue;
        };
        let mut value = value.trim().to_owned();
        while let Some(begun) = value.strip_suffix('\\') {
            let next = lines.next().unwrap_or_default();
            // Comments between continued lines are not part of the command.
            value = match next.trim_start().starts_with(['#', ';']) {
                true => format!("{begun}\\"),
                false => format!("{} {}", begun.trim_end(), next.trim()),
            };
        }
        match value.is_empty() {
            true => commands.clear(),
            false => commands.push(value),
        }
    }
    let command = match &commands[..] {
        [] => return Err("it says nothing that is started".to_owned()),
        [command] => command,
        several => return Err(format!("it starts {} commands", several.len())),
    };
    let bare = command.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let prefix = &command[..command.len() - bare.len()];
    let (first, rest) = first_word(bare);
    let named = |path: &str| Path::new(path).file_name().map(ToOwned::to_owned);
    if named(&first) != named(program) {
        return Err(format!(
            "it starts {first}, which starts the server in its own way"
        ));
    }
    let escaped = program.replace('%', "%%").replace('"', "\\\"");
    let program = match program.contains(char::is_whitespace) {
        true => format!("\"{escaped}\""),
        false => escaped,
    };
    Ok(format!("ExecStart={prefix}{program}{rest}"))
}

/// The first word of a command line, without its quotes, and what follows it.
fn first_word(command: &str) -> (String, &str) {
    let quote = command.chars().next().filter(|c| matches!(c, '"' | '\''));
    match quote.and_then(|quote| command[1..].split_once(quote)) {
        Some((word, rest)) => (word.to_owned(), rest),
        None => {
            let end = command.find(char::is_whitespace).unwrap_or(command.len());
            (command[..end].to_owned(), &command[end..])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: &str = "/var/lib/upshift/store/current/etcd";

    #[track_caller]
    fn moved(unit: &str) -> String {
        through_store(unit, STORE).unwrap()
    }

    #[test]
    fn the_arguments_stay_as_they_stand_in_the_unit() {
        for (line, expected) in [
            ("ExecStart=/usr/bin/etcd", ""),
            ("ExecStart = /usr/bin/etcd $DAEMON_ARGS", " $DAEMON_ARGS"),
            (
                "ExecStart=/usr/local/bin/etcd --name %H \"a b\" '%%'",
                " --name %H \"a b\" '%%'",
            ),
            ("ExecStart=\"/opt/etcd 3/etcd\" --x", " --x"),
            (
                "ExecStart=/usr/bin/etcd \\\n  --name a \\\n# why\n  --data-dir /d",
                " --name a --data-dir /d",
            ),
            (
                "ExecStart=/bin/false\nExecStart=\nExecStart=/usr/bin/etcd --name b",
                " --name b",
            ),
        ] {
            let unit = format!(
                "# /lib/systemd/system/etcd.service\n[Service]\nUser=etcd\n{line}\nExecStartPre=/bin/x\n"
            );
            assert_eq!(moved(&unit), format!("ExecStart={STORE}{expected}"), "{line}");
        }
        assert_eq!(
            moved("ExecStart=-@/usr/bin/etcd etcd -x"),
            format!("ExecStart=-@{STORE} etcd -x")
        );
        assert_eq!(
            through_store("ExecStart=/usr/bin/etcd -x", "/srv/my up%/etcd").unwrap(),
            "ExecStart=\"/srv/my up%%/etcd\" -x"
        );
    }

    #[test]
    fn what_starts_the_server_in_its_own_way_is_left_to_the_operator() {
        for (unit, why) in [
            ("ExecStart=/bin/sh -c 'exec etcd'", "it starts /bin/sh"),
            ("ExecStart=/usr/bin/docker run etcd", "it starts /usr/bin/docker"),
            ("ExecStart=/a/etcd\nExecStart=/b/etcd", "it starts 2 commands"),
            ("[Service]\nType=oneshot", "nothing that is started"),
        ] {
            let error = through_store(unit, STORE).unwrap_err();
            assert!(error.contains(why), "{unit}: {error}");
        }
    }

    #[test]
    fn our_own_file_is_left_out_of_what_the_unit_says() {
        let file = Path::new("/etc/systemd/system/etcd.service.d/zz-upshift.conf");
        let text = "# /lib/systemd/system/etcd.service\n[Service]\nExecStart=/usr/bin/etcd\n\n# /etc/systemd/system/etcd.service.d/zz-upshift.conf\n[Service]\nExecStart=\nExecStart=/old/etcd\n";
        assert_eq!(moved(&without(text, file)), format!("ExecStart={STORE}"));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for unit in ["../x.service", "a b.service", "a/b.service", ".x"] {
            assert!(drop_in(unit).is_err(), "{unit}");
        }
        assert!(drop_in("system-etcd@a.service").is_ok());
    }
}

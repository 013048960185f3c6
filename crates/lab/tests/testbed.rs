//! Several hosts with real sshd. Skipped, with the reason, where they cannot be had.

use std::process::Command;
use std::time::Duration;

use upshift_lab::fetch::Cache;
use upshift_lab::processes;
use upshift_lab::testbed::Testbed;

fn ssh(config: &std::path::Path, host: &str, command: &str) -> Result<String, String> {
    let output = processes::run(
        Command::new("ssh").arg("-F").arg(config).args([host, command]),
        Duration::from_secs(20),
    )
    .map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn hosts_are_reached_and_cut_off_and_leave_nothing_behind() {
    let cache = Cache::open().unwrap();
    let say = |text: &str| println!("{text}");
    let mut bed = match Testbed::new(&cache, 2, &say) {
        Ok(bed) => bed,
        Err(unavailable) => {
            println!("skipped: {unavailable}");
            return;
        }
    };
    let config = bed.ssh_config();
    assert_eq!(ssh(&config, "h1", "id -un").unwrap(), "root");
    assert_eq!(
        ssh(&config, "via-h2", "echo \"$SSH_CONNECTION\" | cut -d' ' -f3").unwrap(),
        bed.hosts()[1].address
    );

    let host = bed.hosts()[0].clone();
    bed.set_link(&host, false).unwrap();
    assert!(ssh(&config, "h1", "true").is_err());
    bed.set_link(&host, true).unwrap();
    assert!(processes::poll(Duration::from_secs(10), || ssh(
        &config, "h1", "true"
    )
    .is_ok()));

    match bed.ordinary_user(&cache, &say) {
        Ok(config) => assert_eq!(ssh(&config, "h1", "sudo -n id -un").unwrap(), "root"),
        Err(unavailable) => println!("skipped: {unavailable}"),
    }

    let disk = bed.directory().join("small");
    bed.small_disk(&disk, 1).unwrap();
    assert!(std::fs::write(disk.join("large"), vec![0_u8; 2_000_000]).is_err());

    drop(bed);
    let mut pids = Command::new("ip");
    pids.args(["netns", "pids", &host.namespace]);
    assert!(
        processes::run(&mut pids, Duration::from_secs(5)).is_err(),
        "the namespace is still there"
    );
    assert!(!disk.exists());
}

//! Fleet files as the documentation shows them.

use upshift_model::fleet::{Fleet, InventoryFiles, schema};

#[test]
fn the_example_in_the_documentation_reads() {
    let page = include_str!("../../../docs/fleets.md");
    let (_, rest) = page.split_once("```yaml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let fleet = Fleet::from_text("fleet.yaml", example, &InventoryFiles::none()).expect("a fleet");
    assert_eq!(fleet.servers("etcd").count(), 3);
    assert_eq!(fleet.hosts.len(), 5);
}

/// Run with UPDATE_SCHEMA=1 to write the committed copy anew.
#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a test may read and write the committed copy"
)]
fn the_committed_schema_is_what_the_types_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema/fleet.json");
    let current = serde_json::to_string_pretty(&schema()).expect("a schema is JSON") + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, &current).expect("writable");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == current,
        "docs/schema/fleet.json is not what the types say; write it anew: \
         `UPDATE_SCHEMA=1 cargo test -p upshift-model --test fleet`"
    );
}

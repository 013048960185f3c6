//! The profiles that are part of the program.

/// File names and texts of the profiles that are part of the program, in the order of their names.
pub fn shipped() -> &'static [(&'static str, &'static str)] {
    &[
        ("alluxio.yaml", include_str!("../../../../profiles/alluxio.yaml")),
        ("etcd.yaml", include_str!("../../../../profiles/etcd.yaml")),
        ("emqx.yaml", include_str!("../../../../profiles/emqx.yaml")),
        ("ignite.yaml", include_str!("../../../../profiles/ignite.yaml")),
        (
            "kyligence.yaml",
            include_str!("../../../../profiles/kyligence.yaml"),
        ),
        ("lab.yaml", include_str!("../../../../profiles/lab.yaml")),
        (
            "weka-client.yaml",
            include_str!("../../../../profiles/weka-client.yaml"),
        ),
        ("nats.yaml", include_str!("../../../../profiles/nats.yaml")),
        ("weka.yaml", include_str!("../../../../profiles/weka.yaml")),
    ]
}

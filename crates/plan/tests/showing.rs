//! What plans and refusals of many servers leave out, and what not.

use upshift_plan::{Refusal, plan, show, testing};

#[test]
fn up_to_six_hosts_are_named() {
    let told = |count: usize| {
        let refusal = Refusal {
            code: "disk".to_owned(),
            hosts: (1..=count).map(|host| format!("h{host}")).collect(),
            message: "too small".to_owned(),
            remedy: "make room".to_owned(),
            link: None,
            finding: upshift_plan::Finding::DoesNotHold,
            hides: Vec::new(),
        };
        let text = show::refusals(&[refusal]);
        text.lines().nth(2).unwrap().trim().to_owned()
    };
    assert_eq!(told(5), "1. h1, h2, h3, h4, h5: too small [disk]");
    assert_eq!(told(6), "1. h1, h2, h3, h4, h5, h6: too small [disk]");
    assert_eq!(told(7), "1. h1, h2, h3, h4, h5, h6 and 1 more: too small [disk]");
}

#[test]
fn a_server_that_no_window_touches_is_drawn_untouched() {
    for servers in [5, 40] {
        let mut facts = testing::facts(servers, "1.0.0");
        facts
            .nodes
            .insert("n00002".to_owned(), testing::node_facts(2, servers, "1.1.0"));
        let request = testing::request("1.1.0", &[]);
        let (profile, fleet) = (testing::profile(), testing::fleet(servers));
        let picture = show::picture(&plan(&profile, "test", &fleet, &facts, &request).unwrap());
        let disturbed: Vec<&str> = picture
            .lines()
            .filter(|line| line.starts_with('n') && !line.contains('█'))
            .collect();
        assert_eq!(disturbed.len(), 1, "{picture}");
        assert!(disturbed[0].starts_with("n00002"), "{picture}");
    }
}

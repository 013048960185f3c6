//! What a plan looks like, strategy by strategy, for the made-up product `ledger`.

use upshift_model::profile::Strategy;
use upshift_plan::{Plan, Refusal, plan, testing};

fn planned(from: &str, to: &str, at_hand: &[&str], servers: usize) -> Result<Plan, Vec<Refusal>> {
    let request = testing::request(to, at_hand);
    plan(
        &testing::profile(),
        "test",
        &testing::fleet(servers),
        &testing::facts(servers, from),
        &request,
    )
}

#[test]
fn every_strategy_is_planned() {
    for (from, to, strategy) in [
        ("1.0.0", "1.0.1", Strategy::Hot),
        ("1.0.0", "1.1.0", Strategy::Rolling),
        ("1.1.0", "2.0.0", Strategy::Switch),
        ("2.0.0", "3.0.0", Strategy::Rebuild),
    ] {
        let plan = planned(from, to, &[], 3).unwrap_or_else(|refusals| panic!("{refusals:#?}"));
        assert_eq!(plan.hops.len(), 1);
        assert_eq!(plan.hops[0].strategy, strategy);
    }
}

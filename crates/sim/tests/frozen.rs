//! Runs that once broke a promise, written out: they do not depend on how seeds are drawn.
//!
//! A scenario whose promise is still broken says which ones: it may break those and no other. Once it is mended, `known` goes.

use upshift_run::OperatorCommand;
use upshift_sim::fault::{Fault, Moment, When};
use upshift_sim::product::Behaviour;
use upshift_sim::scenario::Scenario;
use upshift_sim::trace::Level;

/// A scenario that is kept.
struct Frozen {
    name: &'static str,
    upgrade: (&'static str, &'static str),
    servers: usize,
    /// Whether the operator has said yes to points of no return.
    consent: bool,
    /// Seed of the times that things take.
    times: u64,
    faults: Vec<(When, Fault)>,
    /// The promises that it still breaks.
    known: &'static [u8],
}

fn misbehaves(host: Option<usize>, version: &str, behaviour: Behaviour) -> Fault {
    Fault::Misbehaves(host, version.to_owned(), behaviour)
}

impl Frozen {
    fn check(&self) {
        let (from, to) = self.upgrade;
        let scenario = Scenario {
            seed: self.times,
            servers: self.servers,
            consent: self.consent,
            faults: self.faults.clone(),
            check_replay: false,
            ..Scenario::between(from, to)
        };
        let summary = scenario.run(Level::Story);
        let unknown: Vec<_> = summary
            .violations
            .iter()
            .filter(|violation| !self.known.contains(&violation.promise))
            .collect();
        assert!(
            unknown.is_empty(),
            "{}: {unknown:?}\n{}",
            self.name,
            summary.trace
        );
    }
}

macro_rules! frozen {
    ($($name:ident: $upgrade:expr, $servers:literal servers, consent $consent:literal, times $times:literal, known $known:expr, $faults:expr;)*) => {$(
        #[test]
        fn $name() {
            Frozen {
                name: stringify!($name),
                upgrade: $upgrade,
                servers: $servers,
                consent: $consent,
                times: $times,
                faults: $faults,
                known: $known,
            }
            .check();
        }
    )*};
}

frozen! {
    a_server_that_was_left_to_its_guard_answers_after_service_was_resumed: ("1.1.0", "2.0.0"), 3 servers, consent true, times 16545592027639308026, known &[], vec![
        (When::Journal(0), Fault::Noise(9, 8, 8)),
    ];
    a_server_that_died_by_itself_is_not_what_a_hot_rollback_has_proven: ("1.0.0", "1.0.1"), 4 servers, consent true, times 15057558744850156189, known &[], vec![
        (When::Journal(0), misbehaves(None, "1.0.1", Behaviour::NeverHealthy)),
        (When::At(22_944), Fault::ServerDies(3, None)),
    ];
    a_guard_that_the_controller_cannot_expect_has_fired: ("1.1.0", "1.1.1"), 3 servers, consent true, times 14965727699138116341, known &[], vec![
        (When::At(39_914), Fault::ClockJumps(0, 198_016)),
        (When::At(39_914), Fault::HostRebooted(0, 25_061)),
    ];
    old_data_again_after_a_rebuild: ("1.1.0", "3.0.0"), 5 servers, consent true, times 12537779457869156971, known &[3], vec![
        (When::Journal(388), Fault::ServerDies(4, None)),
        (When::Journal(0), misbehaves(Some(4), "2.0.0", Behaviour::CrashesAfter(39_303))),
        (When::At(207_063), Fault::Operator(OperatorCommand::Finalize)),
        (When::Journal(456), Fault::ControllerKilled(Moment::BeforeRecord, Some(230_297))),
        (When::Journal(456), Fault::AgentKilled(2)),
    ];
    service_resumed_before_the_rebuild_is_rolled_back_everywhere: ("2.0.0", "3.0.0"), 5 servers, consent true, times 10320446823816321124, known &[3], vec![
        (When::Journal(223), Fault::HostRebooted(0, 64_857)),
        (When::Journal(223), Fault::ControllerKilled(Moment::AfterPerforming, None)),
        (When::Journal(0), misbehaves(Some(1), "3.0.0", Behaviour::DoesNotStart)),
    ];
    a_reboot_in_the_rollback_of_a_rebuild: ("2.0.0", "3.0.0"), 3 servers, consent true, times 4403884066408513308, known &[3], vec![
        (When::Journal(319), Fault::HostRebooted(1, 55_504)),
        (When::Journal(6), Fault::ControllersCutOff(113_949)),
        (When::Journal(0), misbehaves(None, "3.0.0", Behaviour::LiesAboutVersion)),
    ];
    a_server_crashed_before_the_rollback_stops_the_next: ("1.0.0", "1.1.0"), 3 servers, consent true, times 6789829790500464300, known &[6], vec![
        (When::Journal(0), Fault::LeaderStays),
        (When::Journal(420), Fault::ServerDies(1, None)),
        (When::Journal(0), misbehaves(Some(1), "1.1.0", Behaviour::CrashesAfter(41_612))),
        (When::Journal(269), Fault::HostRebooted(0, 54_753)),
    ];
    the_gate_is_stale_after_agents_were_killed: ("1.0.0", "1.1.0"), 4 servers, consent true, times 3270452279478679917, known &[6], vec![
        (When::Journal(183), Fault::ServerDies(0, Some(54_126))),
        (When::Journal(206), Fault::ServerDies(1, Some(55_731))),
        (When::Journal(181), Fault::AllAgentsKilled),
        (When::Journal(55), Fault::ControllerKilled(Moment::AfterRecord, Some(63_141))),
    ];
    the_gate_is_stale_in_a_lossy_network: ("1.1.0", "1.1.1"), 3 servers, consent true, times 3901167910385630335, known &[6], vec![
        (When::Journal(361), Fault::ServerDies(1, None)),
        (When::Journal(0), misbehaves(None, "1.1.1", Behaviour::CrashesAfter(26_630))),
        (When::At(58_960), Fault::Operator(OperatorCommand::Pause)),
        (When::At(74_991), Fault::Operator(OperatorCommand::Resume)),
        (When::Journal(0), Fault::Noise(2, 13, 5)),
    ];
    another_server_crashes_while_the_window_is_prepared: ("1.1.0", "1.1.1"), 5 servers, consent true, times 1593516592808653971, known &[6], vec![
        (When::Journal(0), Fault::Noise(1, 3, 13)),
        (When::Journal(456), Fault::ServerDies(4, None)),
        (When::Journal(0), misbehaves(None, "1.1.1", Behaviour::CrashesAfter(17_355))),
        (When::Journal(221), Fault::ServerDies(4, None)),
        (When::Journal(0), misbehaves(None, "1.1.1", Behaviour::CrashesAfter(49_610))),
    ];
    a_server_that_recovers_slowly_is_rebooted: ("1.0.0", "1.0.1"), 4 servers, consent true, times 10335727835647039692, known &[3], vec![
        (When::Journal(0), misbehaves(None, "1.0.1", Behaviour::SlowRecovery(16))),
        (When::Journal(187), Fault::HostRebooted(3, 73_142)),
    ];
    a_server_dies_for_good_after_the_rebuild: ("1.1.0", "3.0.0"), 3 servers, consent true, times 17597487970355861161, known &[3], vec![
        (When::Journal(280), Fault::ServerDies(0, None)),
        (When::Journal(0), misbehaves(Some(0), "2.0.0", Behaviour::CrashesAfter(45_889))),
    ];
    a_guard_waits_for_a_server_that_is_gone: ("1.0.0", "2.0.0"), 4 servers, consent true, times 4666506711026369717, known &[7], vec![
        (When::Journal(237), Fault::ServerDies(2, None)),
        (When::Journal(166), Fault::ControllerKilled(Moment::AfterPerforming, Some(17_463))),
        (When::Journal(153), Fault::AllAgentsKilled),
        (When::Journal(377), Fault::ControllerKilled(Moment::AfterPerforming, Some(13_496))),
        (When::Journal(153), Fault::AllAgentsKilled),
        (When::Journal(438), Fault::ControllerKilled(Moment::AfterPerforming, Some(46_834))),
    ];
    three_guards_wait_for_a_server_that_crashed: ("1.1.0", "1.1.1"), 5 servers, consent true, times 2277796424222092675, known &[7], vec![
        (When::Journal(363), Fault::ControllerKilled(Moment::AfterRecord, Some(116_544))),
        (When::Journal(363), Fault::AgentKilled(1)),
        (When::Journal(268), Fault::ServerDies(1, None)),
        (When::Journal(0), misbehaves(Some(1), "1.1.1", Behaviour::CrashesAfter(30_246))),
    ];
    a_guard_waits_while_no_host_can_be_reached: ("1.0.0", "1.1.0"), 3 servers, consent true, times 12413044362265567920, known &[7], vec![
        (When::Journal(302), Fault::ServerDies(0, None)),
        (When::Journal(0), misbehaves(Some(0), "1.1.0", Behaviour::CrashesAfter(25_762))),
        (When::Journal(73), Fault::ControllersCutOff(453_088)),
    ];
    no_process_after_a_held_run: ("1.1.0", "1.1.1"), 3 servers, consent true, times 15605208150320893995, known &[7], vec![
        (When::Journal(11), Fault::AllAgentsKilled),
        (When::Journal(50), Fault::ControllerKilled(Moment::AfterRecord, Some(86_583))),
        (When::Journal(440), Fault::ControllerKilled(Moment::AfterRecord, Some(80_045))),
        (When::Journal(85), Fault::ControllerKilled(Moment::AfterRecord, Some(33_805))),
        (When::Journal(272), Fault::ServerDies(1, Some(86_442))),
        (When::Journal(0), misbehaves(Some(0), "1.1.1", Behaviour::NeverHealthy)),
        (When::Journal(0), misbehaves(Some(0), "1.1.0", Behaviour::DoesNotStart)),
    ];
    no_process_after_the_operator_spoke: ("1.1.0", "1.1.1"), 3 servers, consent true, times 304574463348382271, known &[7], vec![
        (When::Journal(0), Fault::ControllersCutOff(253_724)),
        (When::Journal(446), Fault::ControllerKilled(Moment::BeforeRecord, Some(163_959))),
        (When::Journal(446), Fault::AgentKilled(1)),
        (When::Journal(0), misbehaves(Some(2), "1.1.1", Behaviour::NeverHealthy)),
        (When::Journal(0), misbehaves(Some(2), "1.1.0", Behaviour::DoesNotStart)),
    ];
    no_process_after_a_rollback: ("1.0.0", "2.0.0"), 3 servers, consent true, times 16639660245498617604, known &[7], vec![
        (When::Journal(0), misbehaves(Some(2), "1.1.1", Behaviour::NeverHealthy)),
        (When::Journal(0), misbehaves(Some(2), "1.0.0", Behaviour::DoesNotStart)),
        (When::Journal(282), Fault::VerbLies(2)),
        (When::Journal(455), Fault::ControllerKilled(Moment::BeforeRecord, Some(220_985))),
        (When::Journal(455), Fault::AgentKilled(0)),
    ];
    paused_although_resume_was_said: ("2.0.0", "3.0.0"), 4 servers, consent true, times 16227204156656060709, known &[7], vec![
        (When::Journal(118), Fault::ControllerKilled(Moment::HalfPerformed, Some(30_545))),
        (When::Journal(452), Fault::VerbLies(1)),
        (When::At(15_999), Fault::Operator(OperatorCommand::Pause)),
        (When::At(46_155), Fault::Operator(OperatorCommand::Resume)),
        (When::Journal(357), Fault::VerbLies(2)),
    ];
    paused_in_a_later_hop: ("2.0.0", "3.0.0"), 3 servers, consent true, times 12226120098817991771, known &[7], vec![
        (When::Journal(152), Fault::ControllerKilled(Moment::AfterPerforming, Some(121_031))),
        (When::Journal(152), Fault::AgentKilled(0)),
        (When::At(23_980), Fault::Operator(OperatorCommand::Pause)),
        (When::At(48_864), Fault::Operator(OperatorCommand::Resume)),
    ];
    paused_and_resumed_at_once: ("1.1.0", "3.0.0"), 4 servers, consent true, times 11552281935602745304, known &[7], vec![
        (When::Journal(180), Fault::ControllerKilled(Moment::AfterRecord, Some(55_358))),
        (When::Journal(399), Fault::ControllerKilled(Moment::AfterRecord, Some(13_789))),
        (When::At(30_746), Fault::Operator(OperatorCommand::Pause)),
        (When::At(75_340), Fault::Operator(OperatorCommand::Resume)),
    ];
    rolled_back_to_what_never_ran: ("1.1.0", "2.0.0"), 4 servers, consent true, times 7024181965127308529, known &[3, 7], vec![
        (When::Journal(0), misbehaves(None, "2.0.0", Behaviour::NeverHealthy)),
        (When::Journal(0), misbehaves(Some(1), "1.1.0", Behaviour::DoesNotStart)),
        (When::Journal(59), Fault::ClockJumps(1, 101490)),
        (When::Journal(59), Fault::HostRebooted(1, 32_474)),
    ];
    verified_and_not_true: ("2.0.0", "3.0.0"), 5 servers, consent true, times 4108113337587556075, known &[2, 7], vec![
        (When::Journal(81), Fault::DiskFull(1, 78_957)),
        (When::Journal(271), Fault::HostRebooted(0, 67_299)),
    ];
    started_and_not_true: ("1.1.0", "1.1.1"), 4 servers, consent false, times 17913189637923937585, known &[2], vec![
        (When::Journal(95), Fault::HostRebooted(2, 54_793)),
    ];
    stopped_and_not_true: ("1.0.0", "2.0.0"), 3 servers, consent true, times 11027332232425950760, known &[2], vec![
        (When::Journal(135), Fault::VerbLies(1)),
        (When::Journal(0), misbehaves(None, "1.1.1", Behaviour::SlowRecovery(39))),
        (When::Journal(344), Fault::ServerDies(1, None)),
        (When::Journal(0), misbehaves(None, "2.0.0", Behaviour::CrashesAfter(52_416))),
    ];
    an_unfinished_copy_is_left: ("2.0.0", "3.0.0"), 4 servers, consent true, times 10336762763115659304, known &[8], vec![
        (When::Journal(57), Fault::HostRebooted(0, 63_178)),
    ];
}

/// The host answers from records that its guard has overtaken, or refuses to have its guard armed again: either would hold the run for good.
#[test]
fn a_controller_killed_in_a_rollback_and_back_after_the_guards_brings_the_run_to_its_end() {
    let profile = upshift_sim::scenario::profile();
    let bad = misbehaves(Some(1), "1.1.1", Behaviour::NeverHealthy);
    let scenario = Scenario {
        check_replay: false,
        ..Scenario::between("1.1.0", "1.1.1")
    }
    .with(When::Journal(0), bad);
    let length = scenario.run_with(&profile, Level::Silent).journal;
    let mut in_rollback = 0;
    for journal in length / 2..length {
        let kill = Fault::ControllerKilled(Moment::AfterPerforming, Some(300_000));
        let killed = scenario.clone().with(When::Journal(journal), kill);
        let summary = killed.run_with(&profile, Level::Story);
        assert_eq!(
            summary.violations,
            [],
            "killed at record {journal}\n{}",
            summary.trace
        );
        let rolled_back = matches!(summary.outcome, Some(upshift_run::Outcome::RolledBack { .. }));
        assert!(rolled_back, "killed at record {journal}\n{}", summary.trace);
        in_rollback += usize::from(summary.trace.contains("decides: hop 1 rolls back"));
    }
    assert!(in_rollback > 5);
}

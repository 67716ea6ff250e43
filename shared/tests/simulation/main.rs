//! Conversations of three parties in bad weather, many seeds, and the mistakes that such a run must notice.

mod batch;
mod calm;
mod chronicle;
mod parties;
mod world;

use coati_shared::testing::Fault;

#[test]
fn conversations_survive_bad_weather_and_leave_nothing_behind() {
    let batch = batch::run(0..300, None);
    assert!(batch.failures.is_empty(), "{batch}");
    assert!(batch.completed * 2 > batch.started, "{batch}");
    // A simulation in which nothing breaks would show nothing.
    assert!(batch.joined > 300 * 4, "{batch}");
}

#[test]
fn the_simulation_notices_each_mistake_within_a_thousand_seeds() {
    for (fault, symptom) in [
        (Fault::AnswerTableOff, "ran 2 times"),
        (Fault::UnbindForgets, "left"),
        (Fault::OldGenerationAccepted, "an older session was in the way"),
        (Fault::CancelIgnored, "work for nobody"),
        (Fault::ReplyToDead, "reached a node that was unbound"),
        (Fault::GapIgnored, "after silence, a mirror has"),
        (Fault::ResyncKeepsOlder, "after the storm, a mirror has"),
        (Fault::NoTestament, "of an owner that is gone"),
        (Fault::GrantLost, "broke before"),
        (Fault::StreamPouredForNobody, "pour for nobody"),
        (Fault::StreamCutShort, "as if it were complete"),
        (Fault::ReplayDoubles, "a listener heard tale"),
        (Fault::ReplayDropsHeld, "missed tales"),
    ] {
        let notices = |seed| batch::one(seed, Some(fault)).is_err_and(|text| text.contains(symptom));
        assert!((0..1_000).any(notices), "nobody noticed {fault:?}");
    }
}

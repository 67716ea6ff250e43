//! The leader's machine against any order of answers, refusals, repeats and stops.

use proptest::prelude::*;

use super::*;

const ROLES: [&str; 3] = ["view", "preview", "printer"];

fn path(text: &str) -> Path {
    Path::new(text).expect("a path")
}

fn pairing(parties: usize) -> Pairing {
    let parties = ROLES.iter().take(parties);
    let parties = parties.map(|role| ((*role).to_owned(), path("base.client")));
    Pairing::new("controller", path("base.server.grid"), parties)
        .expect("distinct roles")
        .with_reference("origin", path("base.client.menu"))
}

#[derive(Clone, Debug)]
enum Step {
    Invite,
    /// The so-manieth open invitation is answered.
    Comes(usize),
    Refuses(usize),
    Strays(usize),
    Stops(Option<usize>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Invite),
        8 => any::<usize>().prop_map(Step::Comes),
        1 => any::<usize>().prop_map(Step::Refuses),
        1 => any::<usize>().prop_map(Step::Strays),
        1 => proptest::option::of(any::<usize>()).prop_map(Step::Stops),
    ]
}

proptest! {
    #[test]
    fn a_pair_starts_with_all_or_ends_for_all(
        parties in 1..=3_usize,
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let mut pairing = pairing(parties);
        let mut invited: Vec<(u64, String)> = Vec::new();
        let (mut round, mut came, mut spoilt) = (0, BTreeSet::new(), false);
        let (mut active, mut ended) = (false, false);
        for step in steps {
            let was_ended = ended;
            let mut by = None;
            let pick = |index: usize, all: usize| (all > 0).then(|| index % all);
            let mut answer = |index, answer: Result<Path>| {
                let (of, role) = invited.remove(pick(index, invited.len())?);
                if of == round && !was_ended {
                    match &answer {
                        Ok(place) if place.is_within(&path("base.client")) => drop(came.insert(role.clone())),
                        _ => spoilt = true,
                    }
                }
                Some((of == round, Input::Answer(of, role, answer)))
            };
            let (counts, input) = match step {
                Step::Invite => (true, Input::Invite),
                Step::Comes(index) => match answer(index, Ok(path("base.client.grid"))) {
                    Some(answer) => answer,
                    None => continue,
                },
                Step::Refuses(index) => match answer(index, Err(Error::new(ErrorKind::Refused, "No."))) {
                    Some(answer) => answer,
                    None => continue,
                },
                Step::Strays(index) => match answer(index, Ok(path("elsewhere.grid"))) {
                    Some(answer) => answer,
                    None => continue,
                },
                Step::Stops(index) => {
                    by = index.and_then(|index| Some(ROLES[pick(index, parties)?].to_owned()));
                    (true, Input::Stop(by.clone()))
                }
            };
            let is_stop = matches!(input, Input::Stop(_));
            if matches!(input, Input::Invite) && !ended {
                (round, came, spoilt) = (round + 1, BTreeSet::new(), false);
            }
            let outputs = pairing.handle(input);
            prop_assert!(counts || outputs.iter().all(|output| was_ended && matches!(output, Output::Dismiss(_))));
            for output in &outputs {
                match output {
                    Output::Invite(of, role) => invited.push((*of, role.clone())),
                    Output::Start(names) => {
                        prop_assert!(came.len() == parties && !spoilt, "nobody is missing");
                        prop_assert_eq!(names.len(), parties + 2, "all roles and the reference");
                        active = true;
                    }
                    Output::Failed(_) => prop_assert!(spoilt),
                    Output::Dismiss(role) => {
                        prop_assert!(ended || outputs.contains(&Output::Ended));
                        prop_assert_ne!(Some(role), by.as_ref(), "who stops it knows");
                    }
                    Output::Ended => {
                        prop_assert!(!was_ended, "it ends once");
                        prop_assert!(is_stop || !active, "who was there once is waited for");
                        let told = outputs.iter().filter(|output| matches!(output, Output::Dismiss(_))).count();
                        prop_assert_eq!(told, parties - usize::from(by.is_some()));
                        ended = true;
                    }
                }
            }
            prop_assert_eq!(pairing.is_ended(), ended);
        }
    }
}

#[test]
fn roles_are_distinct_and_not_too_many() {
    let party = |role: String| (role, path("base.client"));
    let kinds = [
        vec![],
        vec![party("controller".to_owned())],
        vec![party("view".to_owned()), party("view".to_owned())],
        (0..=PARTY_LIMIT).map(|number| party(format!("view{number}"))).collect(),
    ]
    .map(|parties| Pairing::new("controller", path("base.server.grid"), parties).map_err(|error| error.kind));
    assert!(kinds.iter().all(|kind| matches!(kind, Err(ErrorKind::InvalidArgument))));
}

#[test]
fn who_comes_after_the_end_is_told() {
    let mut pairing = pairing(1);
    pairing.handle(Input::Invite);
    pairing.handle(Input::Stop(None));
    let late = pairing.handle(Input::Answer(1, "view".to_owned(), Ok(path("base.client.grid"))));
    assert_eq!(late, [Output::Dismiss("view".to_owned())]);
}

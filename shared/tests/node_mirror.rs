//! State that one node shows of another: wherever the owner is, and whatever becomes of it or of the link.

use std::rc::Rc;

use coati_shared::{
    prelude::*,
    testing::{self, Placement, Realm, settle},
    wamp::{router::Input, uri::Uri},
};

#[node]
struct Counter {
    #[mirror]
    total: Value<u64>,
    #[mirror]
    label: Value<Option<String>>,
    #[mirror]
    #[init({ let total = total.clone(); Computed::new(move || total.get().saturating_mul(2)) })]
    doubled: Computed<u64>,
    hidden: Value<u64>,
}

#[node]
struct Single {
    #[mirror]
    total: Value<u64>,
}

#[node]
struct Panel {}

async fn counter(context: &NodeContext) -> Result<Rc<Counter>> {
    let counter = Counter::new();
    counter.node_bind(Path::root("test")?.join("counter")?, context).await?;
    Ok(counter)
}

async fn panel(context: &NodeContext) -> Result<Rc<Panel>> {
    let panel = Panel::new();
    panel.node_bind(Path::root("test")?.join("panel")?, context).await?;
    Ok(panel)
}

#[testing::test]
async fn a_mirror_shows_what_the_owner_has_and_follows_it(at: Placement) -> Result<()> {
    let (counter, panel) = (counter(&at.far).await?, panel(&at.near).await?);
    counter.total.set(u64::MAX);
    let total = panel.mirror(Counter::total, "@counter")?;
    let label = panel.mirror(Counter::label, "@counter")?;
    let doubled: Mirror<u64> = panel.mirror_named("@counter", "doubled")?;
    assert_eq!((total.get(), total.status()), (None, MirrorStatus::Loading));
    at.settle().await;
    assert_eq!((total.get(), total.status()), (Some(u64::MAX), MirrorStatus::Live));
    assert_eq!(label.get(), Some(None));
    let seen = Value::<Vec<Option<u64>>>::default();
    let (watched, all) = (total.clone(), seen.clone());
    panel.node_watch(move || {
        let now = watched.get();
        all.update(|all| all.push(now));
    });
    for number in 1..=3 {
        counter.total.set(number);
        counter.label.set(Some(number.to_string()));
        at.settle().await;
        assert_eq!(total.get(), Some(number));
        assert_eq!(label.get(), Some(Some(number.to_string())));
        assert_eq!(doubled.get(), Some(number * 2));
    }
    assert_eq!(seen.get(), [Some(u64::MAX), Some(1), Some(2), Some(3)]);
    let hidden: Mirror<u64> = panel.mirror_named("@counter", "hidden")?;
    let wrong: Mirror<String> = panel.mirror_named("@counter", "total")?;
    at.settle().await;
    assert_eq!(
        hidden.status(),
        MirrorStatus::Lost(ErrorKind::NotFound),
        "only what is marked is shown"
    );
    assert_eq!(wrong.status(), MirrorStatus::Lost(ErrorKind::InvalidArgument));
    Ok(())
}

#[testing::test]
async fn a_mirror_survives_the_end_of_its_owner_and_finds_the_next_one(at: Placement) -> Result<()> {
    let panel = panel(&at.near).await?;
    let total = panel.mirror(Counter::total, "@counter")?;
    at.settle().await;
    assert_eq!(
        total.status(),
        MirrorStatus::Lost(ErrorKind::NoSuchProcedure),
        "nobody is there yet"
    );
    for life in 1..=3 {
        let counter = counter(&at.far).await?;
        counter.total.set(life);
        at.settle().await;
        assert_eq!((total.get(), total.status()), (Some(life), MirrorStatus::Live));
        counter.node_unbind().await?;
        at.settle().await;
        assert_eq!(
            (total.get(), total.status()),
            (Some(life), MirrorStatus::Lost(ErrorKind::NoSuchProcedure)),
            "the last known state stays to be seen"
        );
    }
    Ok(())
}

#[testing::test]
async fn a_mirror_ends_with_its_node_or_its_last_handle(at: Placement) -> Result<()> {
    let (counter, panel) = (counter(&at.far).await?, panel(&at.near).await?);
    at.settle().await;
    let before = at.near.records();
    let total = panel.mirror(Counter::total, "@counter")?;
    at.settle().await;
    drop(total.clone());
    counter.total.set(1);
    at.settle().await;
    assert_eq!(total.get(), Some(1));
    drop(total);
    at.settle().await;
    assert_eq!(at.near.records(), before, "nothing listens any more");
    let total = panel.mirror(Counter::total, "@counter")?;
    at.settle().await;
    panel.node_unbind().await?;
    counter.total.set(2);
    at.settle().await;
    assert_eq!(total.get(), Some(1));
    assert_eq!(total.status(), MirrorStatus::Lost(ErrorKind::Disconnected));
    Ok(())
}

#[testing::test]
async fn a_mirror_catches_up_when_either_side_comes_back() -> Result<()> {
    let realm = Realm::new();
    let (near, far) = (realm.context("node").await?, realm.context("node").await?);
    let (counter, panel) = (counter(&far).await?, panel(&near).await?);
    let total = panel.mirror(Counter::total, "@counter")?;
    settle().await;
    for (number, side) in [(1, &near), (2, &far), (3, &near)] {
        let peer = side.peer().expect("joined");
        realm.cut(&peer);
        side.set_peer(None).await?;
        if number != 2 {
            assert_eq!(total.status(), MirrorStatus::Lost(ErrorKind::Disconnected));
        }
        counter.total.set(number);
        settle().await;
        assert_eq!(total.get(), Some(number - 1));
        if number == 2 {
            assert_eq!(total.status(), MirrorStatus::Lost(ErrorKind::NoSuchProcedure));
        }
        side.set_peer(Some(realm.peer("node").await?)).await?;
        settle().await;
        assert_eq!((total.get(), total.status()), (Some(number), MirrorStatus::Live));
    }
    Ok(())
}

#[testing::test]
async fn a_mirror_hears_that_the_session_of_its_owner_was_lost_or_killed() -> Result<()> {
    let realm = Realm::new();
    let (near, far) = (realm.context("browser").await?, realm.context("browser").await?);
    let (counter, panel) = (counter(&far).await?, panel(&near).await?);
    let total = panel.mirror(Counter::total, "@counter")?;
    settle().await;
    for number in 1..=4 {
        assert_eq!(total.status(), MirrorStatus::Live);
        let peer = far.peer().expect("joined");
        if number % 2 == 0 {
            realm.cut(&peer);
        } else {
            realm.handle(Input::Kill {
                session: peer.session().session,
                reason: Uri::unchecked("test.killed"),
                message: None,
            });
        }
        // The owner itself knows nothing of it yet, and counts on.
        counter.total.set(number);
        settle().await;
        assert_eq!(
            (total.get(), total.status()),
            (Some(number - 1), MirrorStatus::Lost(ErrorKind::NoSuchProcedure)),
        );
        far.set_peer(Some(realm.peer("browser").await?)).await?;
        settle().await;
        assert_eq!((total.get(), total.status()), (Some(number), MirrorStatus::Live));
    }
    Ok(())
}

#[testing::test]
async fn the_late_end_of_an_owners_earlier_session_leaves_mirrors_live() -> Result<()> {
    let realm = Realm::new();
    let (near, far) = (realm.context("node").await?, realm.context("node").await?);
    let (counter, panel) = (counter(&far).await?, panel(&near).await?);
    let total = panel.mirror(Counter::total, "@counter")?;
    settle().await;
    let earlier = far.peer().expect("joined");
    far.set_peer(Some(realm.peer("node").await?)).await?;
    counter.total.set(1);
    settle().await;
    realm.cut(&earlier);
    settle().await;
    assert_eq!((total.get(), total.status()), (Some(1), MirrorStatus::Live));
    counter.total.set(2);
    settle().await;
    assert_eq!((total.get(), total.status()), (Some(2), MirrorStatus::Live));
    Ok(())
}

#[testing::test]
async fn owners_that_come_and_go_use_no_testaments_up() -> Result<()> {
    let realm = Realm::new();
    let (near, far) = (realm.context("node").await?, realm.context("browser").await?);
    let panel = panel(&near).await?;
    for number in 0..50 {
        // One field each time, as a browser may leave eight testaments.
        let single = Single::new();
        single.node_bind(&*format!("test.single{number}"), &far).await?;
        let mirror = panel.mirror(Single::total, &format!("test.single{number}"))?;
        settle().await;
        assert_eq!(mirror.status(), MirrorStatus::Live);
        if number % 10 == 9 {
            realm.cut(&far.peer().expect("joined"));
            settle().await;
            assert_eq!(mirror.status(), MirrorStatus::Lost(ErrorKind::NoSuchProcedure));
            far.set_peer(Some(realm.peer("browser").await?)).await?;
        }
        single.node_unbind().await?;
    }
    Ok(())
}

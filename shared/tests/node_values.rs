//! What travels: nodes and remotes as arguments and in signals, exact values in every codec, endpoints at the node itself.

use std::{collections::BTreeMap, rc::Rc};

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use coati_shared::{
    prelude::*,
    testing::{Placement, Realm},
    wamp::codec::CodecId,
};
use serde::{Deserialize, Serialize};

#[contract]
trait Greeter {
    async fn greet(&self, name: String) -> Result<String>;
    /// Answers with itself.
    async fn me(&self) -> Result<GreeterRemote>;
    /// Calls whom it is given.
    async fn introduce(&self, other: GreeterRemote) -> Result<String>;
    /// At the node's own path.
    async fn itself(&self) -> Result<u32>;
}

#[node(Greeter, register = "each")]
struct GreeterNode {
    word: String,
    #[signal]
    sent: Signal<GreeterRemote>,
    #[signal]
    itself: Signal<u32>,
    met: Value<Vec<String>>,
    same: Value<Option<bool>>,
    heard: Value<Vec<u32>>,
}

impl Greeter for GreeterNode {
    async fn greet(&self, name: String) -> Result<String> {
        Ok(format!("{} {name}", self.word))
    }

    async fn me(&self) -> Result<GreeterRemote> {
        self.node_remote::<dyn Greeter>()
    }

    async fn introduce(&self, other: GreeterRemote) -> Result<String> {
        other.greet(self.word.clone()).await
    }

    async fn itself(&self) -> Result<u32> {
        Ok(7)
    }
}

#[handlers]
impl GreeterNode {
    #[handler(Self::sent, at = "test.far")]
    async fn met(&self, sender: GreeterRemote) -> Result<()> {
        let here = sender.remote_node().is_some();
        self.same.set(Some(here));
        let greeting = sender.greet(self.word.clone()).await?;
        self.met.update(|all| all.push(greeting));
        Ok(())
    }

    #[handler(Self::itself, at = "test.far")]
    fn heard(&self, number: u32) {
        self.heard.update(|all| all.push(number));
    }
}

async fn pair(at: &Placement) -> Result<(Rc<GreeterNode>, Rc<GreeterNode>)> {
    let (near, far) = (
        GreeterNode::new("hello".to_owned()),
        GreeterNode::new("ciao".to_owned()),
    );
    near.node_bind("test.near", &at.near).await?;
    far.node_bind("test.far", &at.far).await?;
    Ok((near, far))
}

#[coati_shared::testing::test]
async fn a_node_passed_as_a_value_arrives_as_a_remote_to_it(at: Placement) -> Result<()> {
    let (near, far) = pair(&at).await?;
    let remote = near.remote::<dyn Greeter>("test.far")?;
    let me = remote.me().await?;
    assert_eq!(me.remote_path().as_str(), "test.far");
    let is_same = me
        .remote_node()
        .is_some_and(|node| std::ptr::addr_eq(Rc::as_ptr(&node), Rc::as_ptr(&far)));
    assert_eq!(is_same, at.is_together, "in one tree it is the very same object");
    assert_eq!(me.greet("you".to_owned()).await?, "ciao you");
    let back = remote.introduce(near.node_remote::<dyn Greeter>()?).await?;
    assert_eq!(back, "hello ciao", "the callee calls the caller's node");
    Ok(())
}

#[coati_shared::testing::test]
async fn a_node_in_a_signal_arrives_as_a_remote_to_it(at: Placement) -> Result<()> {
    let (near, far) = pair(&at).await?;
    far.sent.notify(far.node_remote::<dyn Greeter>()?).await?;
    at.settle().await;
    assert_eq!(near.met.get(), ["ciao hello"]);
    assert_eq!(near.same.get(), Some(at.is_together));
    Ok(())
}

#[coati_shared::testing::test]
async fn calls_and_signals_may_stand_at_the_node_itself(at: Placement) -> Result<()> {
    let (near, far) = pair(&at).await?;
    assert_eq!(near.remote::<dyn Greeter>("test.far")?.itself().await?, 7);
    assert_eq!(near.remote_dyn("test.far")?.call::<u32>("itself", [(); 0]).await?, 7);
    far.itself.notify(1).await?;
    at.settle().await;
    near.remote_dyn("test.far")?.notify("itself", 2)?;
    at.settle().await;
    assert_eq!(near.heard.get(), [1, 2]);
    Ok(())
}

#[coati_shared::testing::test]
async fn a_node_for_other_languages_has_each_call_registered() -> Result<()> {
    let realm = Realm::new();
    let context = realm.context("node").await?;
    let node = GreeterNode::new("hello".to_owned());
    node.node_bind("test.near", &context).await?;
    let registrations = realm.with_router(|router| router.stats().registrations);
    assert_eq!(
        registrations,
        2 + 3,
        "the root twice, and each call but the one at the root itself"
    );
    node.node_unbind().await?;
    coati_shared::testing::settle().await;
    assert_eq!(realm.with_router(|router| router.stats().registrations), 0);
    assert_eq!(context.records(), [0; 4]);
    Ok(())
}

/// A number with an exact decimal fraction, of a foreign crate's kind: serialised by a function beside the type.
#[derive(Clone, Debug, PartialEq)]
struct Decimal {
    cents: i128,
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Decimal;

    pub fn serialize<S: Serializer>(decimal: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}.{:02}", decimal.cents / 100, decimal.cents % 100))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.replace('.', "");
        let cents = digits.parse().map_err(D::Error::custom)?;
        Ok(Decimal { cents })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Named { name: String, sides: Option<u8> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Exact {
    date: NaiveDate,
    time: NaiveTime,
    moment: DateTime<Utc>,
    #[serde(with = "as_text")]
    price: Decimal,
    uuid: [u8; 16],
    least: i64,
    greatest: u64,
    beyond_doubles: u64,
    fraction: f64,
    octets: bytes::Bytes,
    text: String,
    shapes: Vec<Shape>,
    by_name: BTreeMap<String, Option<i64>>,
}

#[contract]
trait Mirror {
    async fn reflect(&self, exact: Exact) -> Result<Exact>;
}

#[node(Mirror)]
struct MirrorNode {
    #[signal]
    shown: Signal<Exact>,
    seen: Value<Option<Exact>>,
}

impl Mirror for MirrorNode {
    async fn reflect(&self, exact: Exact) -> Result<Exact> {
        Ok(exact)
    }
}

#[handlers]
impl MirrorNode {
    #[handler(Self::shown, at = "test.far")]
    fn seen(&self, exact: Exact) {
        self.seen.set(Some(exact));
    }
}

fn exact() -> Exact {
    Exact {
        date: NaiveDate::from_ymd_opt(2024, 2, 29).expect("a leap year"),
        time: NaiveTime::from_hms_nano_opt(23, 59, 59, 999_999_999).expect("a time"),
        moment: DateTime::from_timestamp(1_700_000_000, 123_456_789).expect("a moment"),
        price: Decimal {
            cents: 123_456_789_012_345_678_901_234_567,
        },
        uuid: *b"\x00\xff0123456789\x80\x7f\n\\",
        least: i64::MIN,
        greatest: u64::MAX,
        beyond_doubles: (1 << 53) + 1,
        fraction: 0.1 + 0.2,
        octets: (0..=255).collect::<Vec<u8>>().into(),
        text: "\u{0}\u{1f9a1} \u{2028}\"\\".to_owned(),
        shapes: vec![
            Shape::Point,
            Shape::Circle(-0.0),
            Shape::Named {
                name: String::new(),
                sides: Some(0),
            },
        ],
        by_name: BTreeMap::from([("a".to_owned(), None), (String::new(), Some(-1))]),
    }
}

#[coati_shared::testing::test]
async fn values_are_exact_wherever_they_go(at: Placement) -> Result<()> {
    let (near, far) = (MirrorNode::new(), MirrorNode::new());
    near.node_bind("test.near", &at.near).await?;
    far.node_bind("test.far", &at.far).await?;
    assert_eq!(near.remote::<dyn Mirror>("test.far")?.reflect(exact()).await?, exact());
    assert_eq!(
        near.remote_dyn("test.far")?
            .call::<Exact>("reflect", (exact(),))
            .await?,
        exact()
    );
    far.shown.notify(exact()).await?;
    at.settle().await;
    assert_eq!(near.seen.get(), Some(exact()));
    Ok(())
}

#[coati_shared::testing::test]
async fn what_is_no_value_of_the_type_is_a_typed_error(at: Placement) -> Result<()> {
    let (near, far) = (MirrorNode::new(), MirrorNode::new());
    near.node_bind("test.near", &at.near).await?;
    far.node_bind("test.far", &at.far).await?;
    let remote = near.remote_dyn("test.far")?;
    for malformed in ["", "{", "2024-02-30"] {
        let error = remote.call::<Exact>("reflect", (malformed,)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
    }
    let answer = remote.call::<u8>("reflect", (exact(),)).await.unwrap_err();
    assert_ne!(
        answer.kind,
        ErrorKind::Internal,
        "an answer of another type is the caller's error"
    );
    Ok(())
}

#[test]
fn every_codec_is_placed() {
    assert_eq!(CodecId::ALL.len(), 3, "a new codec needs a placement of its own");
}

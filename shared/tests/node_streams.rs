//! Calls that answer by a stream: typed on both sides, ended by either, and never further ahead than their reader.

use std::{cell::Cell, rc::Rc, time::Duration};

use coati_shared::{
    node::stream::WINDOW,
    prelude::*,
    testing::{self, Placement, Realm, settle, yield_now},
    wamp::{message::CallOptions, payload::Payload, uri::Uri, value::Dynamic},
};
use futures::{TryStreamExt, future, stream};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    key: u64,
    name: String,
}

#[contract]
trait Rows {
    /// So many rows.
    fn rows(&self, count: u64) -> impl Stream<Item = Result<Row>>;
    /// Some rows, then an error.
    fn broken(&self) -> impl Stream<Item = Result<u64>>;
    /// Rows without an end, each after a moment.
    fn endless(&self, #[caller] caller: Caller) -> impl Stream<Item = Result<Option<String>>>;
    /// One row, and never another.
    fn stuck(&self) -> impl Stream<Item = Result<u64>>;
    async fn plain(&self) -> Result<u64>;
}

#[node(Rows)]
struct Table {
    made: Cell<u64>,
    open: Rc<Cell<i32>>,
}

/// Counts the streams that are open.
struct Guard(Rc<Cell<i32>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Rows for Table {
    fn rows(&self, count: u64) -> impl Stream<Item = Result<Row>> {
        stream::iter(1..=count).map(|key| {
            self.made.set(self.made.get() + 1);
            Ok(Row {
                key,
                name: format!("row {key}"),
            })
        })
    }

    fn broken(&self) -> impl Stream<Item = Result<u64>> {
        stream::iter([Ok(1), Ok(2), Err(Error::new(ErrorKind::Conflict, "It broke.")), Ok(3)])
    }

    fn endless(&self, caller: Caller) -> impl Stream<Item = Result<Option<String>>> {
        self.open.set(self.open.get() + 1);
        let guard = Guard(self.open.clone());
        stream::repeat(()).then(move |()| {
            let (_held, role) = (&guard, caller.authrole.clone());
            async move {
                yield_now().await;
                Ok(role)
            }
        })
    }

    fn stuck(&self) -> impl Stream<Item = Result<u64>> {
        stream::iter([Ok(1)]).chain(stream::pending())
    }

    async fn plain(&self) -> Result<u64> {
        Ok(1)
    }
}

#[node]
struct Reader {}

async fn pair(at: &Placement) -> Result<(Rc<Table>, RowsRemote)> {
    let (table, reader) = (Table::new(Cell::new(0), Rc::default()), Reader::new());
    table.node_bind(Path::root("test")?.join("table")?, &at.far).await?;
    reader.node_bind(Path::root("test")?.join("reader")?, &at.near).await?;
    let remote = reader.remote::<dyn Rows>("@table")?;
    Ok((table, remote))
}

#[testing::test]
async fn all_items_arrive_in_order_and_typed(at: Placement) -> Result<()> {
    let (table, remote) = pair(&at).await?;
    for count in [0, 1, 5, 3 * WINDOW as u64 + 7] {
        let rows: Vec<Row> = remote.rows(count).try_collect().await?;
        assert_eq!(rows.len() as u64, count);
        assert!(rows.iter().map(|row| row.key).eq(1..=count));
        assert!(rows.iter().all(|row| row.name == format!("row {}", row.key)));
    }
    assert_eq!(table.made.get(), 3 * WINDOW as u64 + 13);
    assert_eq!(remote.plain().await?, 1);
    Ok(())
}

#[testing::test]
async fn an_error_is_the_last_item_and_keeps_its_kind(at: Placement) -> Result<()> {
    let (table, remote) = pair(&at).await?;
    let mut broken = remote.broken();
    assert_eq!((broken.next().await, broken.next().await), (Some(Ok(1)), Some(Ok(2))));
    let error = broken.next().await.expect("an item").unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Conflict, "It broke."));
    assert_eq!(broken.next().await, None);
    table.node_unbind().await?;
    let gone: Result<Vec<Row>> = remote.rows(1).try_collect().await;
    assert_eq!(gone.unwrap_err().kind, ErrorKind::NoSuchProcedure);
    Ok(())
}

#[testing::test]
async fn dropping_the_stream_ends_the_callees(at: Placement) -> Result<()> {
    let (table, remote) = pair(&at).await?;
    let mut endless = remote.endless();
    assert_eq!(endless.next().await.expect("an item")?.as_deref(), Some("node"));
    assert_eq!(table.open.get(), 1);
    drop(endless);
    at.settle().await;
    assert_eq!(table.open.get(), 0);
    assert!(format!("{:?}", table.node_core()).contains("running: 0"));
    Ok(())
}

#[testing::test]
async fn unbinding_the_callee_ends_the_stream_with_an_error(at: Placement) -> Result<()> {
    let (table, remote) = pair(&at).await?;
    let mut endless = remote.endless();
    endless.next().await.expect("an item")?;
    table.node_unbind().await?;
    let last = endless.filter_map(|item| future::ready(item.err())).next().await;
    assert_eq!(last.expect("an error").kind, ErrorKind::Canceled);
    assert_eq!(table.open.get(), 0);
    Ok(())
}

#[testing::test]
async fn a_callee_is_never_further_ahead_than_the_window(at: Placement) -> Result<()> {
    let (table, remote) = pair(&at).await?;
    let mut rows = remote.rows(10_000);
    for read in 1..=2_000_u64 {
        rows.next().await.expect("an item")?;
        if read % 100 == 0 {
            settle().await;
            let ahead = table.made.get() - read;
            assert!(ahead <= WINDOW as u64 + 1, "{ahead} ahead");
        }
    }
    at.settle().await;
    assert!(table.made.get() <= 2_000 + WINDOW as u64 + 1, "{}", table.made.get());
    Ok(())
}

#[testing::test]
async fn the_time_out_is_for_each_item_and_not_for_a_slow_reader(at: Placement) -> Result<()> {
    let (_table, remote) = pair(&at).await?;
    let short = Duration::from_millis(50);
    let mut stuck = remote.clone().with_timeout(Some(short)).stuck();
    assert_eq!(stuck.next().await, Some(Ok(1)));
    let late = stuck.next().await.expect("an item").unwrap_err();
    assert_eq!(late.kind, ErrorKind::Timeout);
    assert_eq!(stuck.next().await, None);
    let mut rows = remote.with_timeout(Some(short)).rows(3);
    for _ in 0..3 {
        at.near.platform().sleep(2 * short).await;
        rows.next().await.expect("an item")?;
    }
    assert_eq!(rows.next().await, None);
    Ok(())
}

#[testing::test]
async fn wrappers_are_around_the_whole_stream_and_may_refuse_it(at: Placement) -> Result<()> {
    let (_table, remote) = pair(&at).await?;
    let ended = Rc::new(Cell::new(0));
    let count = ended.clone();
    at.far.wrap_calls(Rc::new(move |info, call| {
        let count = count.clone();
        let (counts, refused) = (info.method == "rows", info.method == "broken");
        Box::pin(async move {
            if refused {
                return Err(Error::new(ErrorKind::NotAuthorized, "Not for you."));
            }
            let answer = call.await;
            count.set(count.get() + u32::from(counts));
            answer
        })
    }));
    let mut rows = remote.rows(2);
    rows.next().await.expect("an item")?;
    if at.is_together {
        assert_eq!(ended.get(), 0, "the call lasts as long as the stream");
    }
    assert_eq!(rows.count().await, 1);
    assert_eq!(ended.get(), 1);
    let refused = remote.broken().next().await.expect("an item").unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotAuthorized);
    Ok(())
}

#[testing::test]
async fn a_reader_in_another_language_gets_all_as_the_link_takes_it() -> Result<()> {
    let realm = Realm::new();
    let (near, far) = (realm.peer("node").await?, realm.context("node").await?);
    let table = Table::new(Cell::new(0), Rc::default());
    table.node_bind("test.table", &far).await?;
    let count = |count: u64| Payload::encode(near.codec(), &(count,));
    let options = CallOptions::default;
    let (rows, came) = (Uri::strict("test.table.rows")?, Rc::new(Cell::new(0_u64)));
    let counted = came.clone();
    let counts = Rc::new(move |_| counted.set(counted.get() + 1));
    near.call_progressive(&rows, count(5_000)?, options(), counts).await?;
    assert_eq!((came.get(), table.made.get()), (5_000, 5_000));
    table.made.set(0);
    let mut parts = near.call_stream(&rows, count(1_000_000)?, options());
    parts.next().await.expect("an item")?;
    drop(parts);
    settle().await;
    assert!(table.made.get() < 100_000, "{}", table.made.get());
    Ok(())
}

#[testing::test]
async fn who_wants_one_answer_is_told_to_ask_for_more(at: Placement) -> Result<()> {
    let (table, _remote) = pair(&at).await?;
    let one: Result<Dynamic> = table.remote_dyn("@table")?.call("rows", (3,)).await;
    assert_eq!(one.unwrap_err().kind, ErrorKind::InvalidArgument);
    Ok(())
}

#[testing::test]
async fn a_caller_without_the_contract_reads_streams_by_name(at: Placement) -> Result<()> {
    let (table, remote) = pair(&at).await?;
    let reader = Reader::new();
    reader
        .node_bind(Path::root("test")?.join("stranger")?, &at.near)
        .await?;
    let dynamic = reader.remote_dyn("@table")?;
    for count in [0, 1, 3 * WINDOW as u64 + 7] {
        let rows: Vec<Dynamic> = dynamic.stream::<Dynamic>("rows", (count,)).try_collect().await?;
        let keys = rows.iter().map(|row| row.get("key").and_then(Dynamic::as_integer));
        assert!(keys.eq((1..=count.cast_signed()).map(Some)));
        let typed: Vec<Row> = remote.rows(count).try_collect().await?;
        let same: Vec<Row> = dynamic.stream::<Row>("rows", (count,)).try_collect().await?;
        assert_eq!(typed, same);
    }
    let mut broken = dynamic.stream::<u64>("broken", [(); 0]);
    assert_eq!((broken.next().await, broken.next().await), (Some(Ok(1)), Some(Ok(2))));
    let error = broken.next().await.expect("an item").unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Conflict, "It broke."));
    assert_eq!(broken.next().await, None);
    let wrong: Result<Vec<String>> = dynamic.stream::<String>("rows", (1,)).try_collect().await;
    assert_eq!(wrong.unwrap_err().kind, ErrorKind::InvalidArgument, "a row is no text");
    let unfit: Result<Vec<Dynamic>> = dynamic.stream::<Dynamic>("rows", ("many",)).try_collect().await;
    assert_eq!(unfit.unwrap_err().kind, ErrorKind::InvalidArgument);
    let unknown: Result<Vec<Dynamic>> = dynamic.stream::<Dynamic>("nothing", [(); 0]).try_collect().await;
    assert_eq!(unknown.unwrap_err().kind, ErrorKind::NoSuchProcedure);
    let once: Vec<u64> = dynamic.stream::<u64>("plain", [(); 0]).try_collect().await?;
    assert_eq!(once, [1], "one answer is a stream of one");
    let mut endless = dynamic.stream::<Dynamic>("endless", [(); 0]);
    assert!(endless.next().await.is_some());
    assert_eq!(table.open.get(), 1);
    drop(endless);
    at.settle().await;
    assert_eq!(table.open.get(), 0, "dropped with its reader");
    Ok(())
}

#[testing::test]
async fn a_stream_by_name_is_no_further_ahead_than_its_reader(at: Placement) -> Result<()> {
    let (table, _remote) = pair(&at).await?;
    let reader = Reader::new();
    reader
        .node_bind(Path::root("test")?.join("stranger")?, &at.near)
        .await?;
    let mut rows = reader.remote_dyn("@table")?.stream::<Dynamic>("rows", (100_000,));
    assert!(rows.next().await.is_some());
    at.settle().await;
    assert!(table.made.get() <= WINDOW as u64 + 2, "{} rows made", table.made.get());
    Ok(())
}

//! Session roots and pairs: members on both sides, a controller and its view that find each other by role, and sessions
//! on one thread that never mix.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use coati_shared::{
    node::pairing::{Names, Pair, Pairing, Parties, join_pair, stop_pair},
    prelude::*,
    state::on_cleanup,
    testing::{self, Placement, Simulation, simulate},
};
use futures::{FutureExt, future::LocalBoxFuture};

#[contract]
trait Server {
    async fn increment(&self) -> Result<u32>;
    /// Opens a context: its controller here, its parties where they are.
    async fn open(&self, name: String) -> Result<()>;
    /// The client wants it no more.
    async fn close(&self, name: String) -> Result<()>;
}

#[node(Server)]
struct ServerMember {
    count: Value<u32>,
    /// Which member has which role besides the controller.
    #[init(Rc::new(RefCell::new(vec![("view", "@client")])))]
    invited: Rc<RefCell<Vec<(&'static str, &'static str)>>>,
    #[init(RefCell::default())]
    pairs: RefCell<BTreeMap<String, Rc<Pair>>>,
}

impl Server for ServerMember {
    async fn increment(&self) -> Result<u32> {
        self.count.update(|count| *count += 1);
        Ok(self.count.get())
    }

    async fn open(&self, name: String) -> Result<()> {
        let known = self.pairs.borrow().get(&name).filter(|pair| !pair.is_ended()).cloned();
        let pair = match known {
            Some(pair) => pair,
            None => {
                let controller = Controller::new();
                self.node_add(&name, controller.clone()).await?;
                let invited = self.invited.borrow().clone();
                let place = |(role, query): &(&str, &str)| Ok((role.to_string(), self.resolve(query)?));
                let places: Vec<(String, Path)> = invited.iter().map(place).collect::<Result<_>>()?;
                let remote = |(role, query): &(&'static str, &'static str)| {
                    Ok((*role, self.remote::<dyn Client>(query)?.with_timeout(None)))
                };
                let clients = invited.iter().map(remote).collect::<Result<_>>()?;
                let path = controller.node_path().expect("bound");
                let pairing = Pairing::new("controller", path, places)?
                    .with_reference("from", self.resolve("@client")?)
                    .with_timeout(Duration::from_millis(200));
                let pair = Pair::new(controller, pairing, Rc::new(Clients(name.clone(), clients)))?;
                self.pairs.borrow_mut().insert(name, pair.clone());
                pair
            }
        };
        pair.invite().await
    }

    async fn close(&self, name: String) -> Result<()> {
        let pair = self.pairs.borrow_mut().remove(&name);
        match pair {
            Some(pair) => pair.stop(Some("view")).await,
            None => Ok(()),
        }
    }
}

/// The parties at the clients, by role.
struct Clients(String, BTreeMap<&'static str, ClientRemote>);

impl Parties for Clients {
    fn invite(&self, role: &str) -> LocalBoxFuture<'static, Result<Path>> {
        let (name, client) = (self.0.clone(), self.1[role].clone());
        async move { client.create_view(name).await }.boxed_local()
    }

    fn start(&self, role: &str, names: &Names) -> LocalBoxFuture<'static, Result<()>> {
        let (name, client, names) = (self.0.clone(), self.1[role].clone(), names.clone());
        async move { client.paired(name, names).await }.boxed_local()
    }

    fn dismiss(&self, role: &str) -> LocalBoxFuture<'static, ()> {
        let (name, client) = (self.0.clone(), self.1[role].clone());
        async move { drop(client.drop_view(name).await) }.boxed_local()
    }
}

#[contract]
trait Client {
    async fn create_view(&self, name: String) -> Result<Path>;
    async fn paired(&self, name: String, names: Vec<(String, Path)>) -> Result<()>;
    async fn drop_view(&self, name: String) -> Result<()>;
}

/// How a client treats invitations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Manners {
    #[default]
    Comes,
    Refuses,
    Dawdles,
}

#[node(Client)]
struct ClientMember {
    manners: Cell<Manners>,
    #[init(Cell::new(0))]
    invitations: Cell<u32>,
}

impl Client for ClientMember {
    async fn create_view(&self, name: String) -> Result<Path> {
        self.invitations.set(self.invitations.get() + 1);
        match self.manners.get() {
            Manners::Comes => {}
            Manners::Refuses => return Err(Error::new(ErrorKind::Refused, "No room.")),
            Manners::Dawdles => futures::future::pending().await,
        }
        if self.node_child(&name).is_none() {
            self.node_add(&name, ViewNode::new()).await?;
        }
        Ok(self.node_child(&name).expect("a view").node_path().expect("bound"))
    }

    async fn paired(&self, name: String, names: Vec<(String, Path)>) -> Result<()> {
        let missing = || Error::new(ErrorKind::NotFound, "There is no view.");
        let (view, server) = (
            self.node_child(&name).ok_or_else(missing)?,
            self.remote::<dyn Server>("@server")?,
        );
        join_pair(&view.clone(), names, move || {
            let (view, server, name) = (view.clone(), server.clone(), name.clone());
            async move {
                server.close(name).await?;
                view.node_unbind().await
            }
            .boxed_local()
        })?;
        Ok(())
    }

    async fn drop_view(&self, name: String) -> Result<()> {
        self.node_remove(&name).await
    }
}

#[contract]
trait Greeter {
    async fn greet(&self) -> Result<u32>;
}

#[node(Greeter)]
struct Controller {
    count: Value<u32>,
}

impl Greeter for Controller {
    async fn greet(&self) -> Result<u32> {
        self.count.update(|count| *count += 1);
        Ok(self.count.get())
    }
}

#[node(Greeter)]
struct ViewNode {}

impl Greeter for ViewNode {
    async fn greet(&self) -> Result<u32> {
        Ok(1)
    }
}

async fn session(at: &Placement, base: &str, manners: Manners) -> Result<(Rc<ServerMember>, Rc<ClientMember>)> {
    let base = Path::root(base)?;
    let (server, client) = (ServerMember::new(), ClientMember::new(Cell::new(manners)));
    server.node_bind(base.join("server")?, &at.far).await?;
    client.node_bind(base.join("client")?, &at.near).await?;
    Ok((server, client))
}

#[testing::test]
async fn each_session_has_members_and_state_of_its_own(at: Placement) -> Result<()> {
    let (_, one) = session(&at, "coati.one", Manners::Comes).await?;
    let count = async |client: &Rc<ClientMember>| client.remote::<dyn Server>("@server")?.increment().await;
    assert_eq!((count(&one).await?, count(&one).await?), (1, 2));
    let (_, two) = session(&at, "coati.two", Manners::Comes).await?;
    assert_ne!(one.resolve("@server")?, two.resolve("@server")?);
    assert_eq!((count(&two).await?, count(&one).await?), (1, 3));
    Ok(())
}

#[testing::test]
async fn a_controller_and_its_view_find_each_other_by_role(at: Placement) -> Result<()> {
    let (server, client) = session(&at, "coati.one", Manners::Comes).await?;
    client.remote::<dyn Server>("@server")?.open("grid".to_owned()).await?;
    let view = client.node_child("grid").expect("a view");
    let controller = server.node_child("grid").expect("a controller");
    let greet = async |node: &Rc<dyn Node>, role: &str| node.remote::<dyn Greeter>(role)?.greet().await;
    assert_eq!(
        (greet(&view, "#controller").await?, greet(&view, "#controller").await?),
        (1, 2)
    );
    assert_eq!(greet(&controller, "#view").await?, 1);
    for node in [&view, &controller] {
        assert_eq!(node.resolve("#from")?, client.node_path().expect("bound"));
        assert_eq!(node.resolve("#view")?, view.node_path().expect("bound"));
    }
    let unknown = view.resolve("#nobody").unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::NotFound);
    Ok(())
}

#[testing::test]
async fn a_refused_view_takes_its_controller_back(at: Placement) -> Result<()> {
    let (server, client) = session(&at, "coati.one", Manners::Refuses).await?;
    let refused = client
        .remote::<dyn Server>("@server")?
        .open("grid".to_owned())
        .await
        .unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Refused);
    assert!(server.node_child("grid").is_none());
    assert_eq!(at.far.records()[0], if at.is_together { 2 } else { 1 });
    Ok(())
}

async fn open(client: &Rc<ClientMember>) -> Result<()> {
    client.remote::<dyn Server>("@server")?.open("grid".to_owned()).await
}

#[testing::test]
async fn references_of_a_pair_are_for_its_parties_and_what_is_below_them(at: Placement) -> Result<()> {
    let (server, client) = session(&at, "coati.one", Manners::Comes).await?;
    open(&client).await?;
    let view = client.node_child("grid").expect("a view");
    let part = ViewNode::new();
    view.node_add_dyn("part", part.clone()).await?;
    assert_eq!(part.resolve("#view")?, view.node_path().expect("bound"));
    for outside in [server.resolve("#view"), client.resolve("#controller")] {
        assert_eq!(outside.unwrap_err().kind, ErrorKind::NotFound);
    }
    Ok(())
}

#[testing::test]
async fn either_side_stops_a_pair_for_both(at: Placement) -> Result<()> {
    let (server, client) = session(&at, "coati.one", Manners::Comes).await?;
    for by_controller in [true, false] {
        open(&client).await?;
        let (view, controller) = (client.node_child("grid"), server.node_child("grid"));
        let stops = if by_controller { controller } else { view }.expect("paired");
        stop_pair(&*stops).await?;
        at.settle().await;
        assert!(client.node_child("grid").is_none() && server.node_child("grid").is_none());
        assert_eq!(stop_pair(&*stops).await.unwrap_err().kind, ErrorKind::NotFound);
    }
    Ok(())
}

#[testing::test]
async fn who_does_not_come_in_time_ends_the_pair(at: Placement) -> Result<()> {
    let (server, client) = session(&at, "coati.one", Manners::Dawdles).await?;
    assert_eq!(open(&client).await.unwrap_err().kind, ErrorKind::Timeout);
    at.settle().await;
    assert!(server.node_child("grid").is_none());
    assert!(
        format!("{:?}", client.node_core()).contains("running: 0"),
        "the invitation was given up"
    );
    Ok(())
}

#[testing::test]
async fn who_was_there_is_waited_for_when_it_comes_back(at: Placement) -> Result<()> {
    let (server, client) = session(&at, "coati.one", Manners::Comes).await?;
    open(&client).await?;
    let controller = server.node_child("grid").expect("a controller");
    client.node_remove("grid").await?;
    client.manners.set(Manners::Refuses);
    assert_eq!(open(&client).await.unwrap_err().kind, ErrorKind::Refused);
    client.manners.set(Manners::Comes);
    open(&client).await?;
    assert!(Rc::ptr_eq(&controller, &server.node_child("grid").expect("the same")));
    let view = client.node_child("grid").expect("a new view");
    assert_eq!(view.remote::<dyn Greeter>("#controller")?.greet().await?, 1);
    Ok(())
}

#[testing::test]
async fn several_parties_know_each_other_and_nobody_else_is_asked(at: Placement) -> Result<()> {
    let (server, client) = session(&at, "coati.one", Manners::Comes).await?;
    let (guest, stranger) = (ClientMember::new(Cell::default()), ClientMember::new(Cell::default()));
    for (name, member) in [("guest", &guest), ("stranger", &stranger)] {
        member.node_bind(Path::root("coati.one")?.join(name)?, &at.near).await?;
    }
    server.invited.borrow_mut().push(("preview", "@guest"));
    open(&client).await?;
    let (view, preview) = (
        client.node_child("grid").expect("one"),
        guest.node_child("grid").expect("another"),
    );
    assert_eq!(view.resolve("#preview")?, preview.node_path().expect("bound"));
    assert_eq!(preview.resolve("#view")?, view.node_path().expect("bound"));
    assert_eq!(stranger.invitations.get(), 0);
    stop_pair(&*server.node_child("grid").expect("a controller")).await?;
    at.settle().await;
    assert!(client.node_child("grid").is_none() && guest.node_child("grid").is_none());
    guest.manners.set(Manners::Refuses);
    assert_eq!(open(&client).await.unwrap_err().kind, ErrorKind::Refused);
    at.settle().await;
    assert!(client.node_child("grid").is_none(), "one refusal ends it for all");
    Ok(())
}

#[testing::test]
async fn state_can_follow_who_is_bound() -> Result<()> {
    let context = testing::local_context();
    let (node, places) = (Controller::new(), Value::new(0_i32));
    let is_empty = Computed::new({
        let places = places.clone();
        move || places.get() == 0
    });
    let (more, fewer) = (places.clone(), places.clone());
    let _bound = node.on_bind(move |_| more.update(|places| *places += 1));
    let _unbound = node.on_unbind(move |_| fewer.update(|places| *places -= 1));
    assert!(is_empty.get());
    node.node_bind("test.node", &context).await?;
    assert_eq!((is_empty.get(), context.records()[0]), (false, 1));
    let found = node
        .remote::<dyn Greeter>("test.node")?
        .remote_node()
        .expect("by its address");
    assert!(std::ptr::addr_eq(Rc::as_ptr(&found), Rc::as_ptr(&node)));
    node.node_unbind().await?;
    assert_eq!((is_empty.get(), context.records()[0]), (true, 0));
    Ok(())
}

type Cleaned = std::sync::Arc<std::sync::Mutex<Vec<u64>>>;

/// Does a bit, waits, and looks whether it is still at home.
#[node(Greeter)]
struct Resident {
    session: u64,
    simulation: Simulation,
    mixed: Rc<RefCell<u32>>,
    cleaned: Cleaned,
    count: Value<u32>,
}

impl Resident {
    async fn look(&self) {
        for _ in 0..3 {
            let home = self.node_context().and_then(|context| context.get::<u64>());
            if home.as_deref() != Some(&self.session) {
                *self.mixed.borrow_mut() += 1;
            }
            let (session, cleaned) = (self.session, self.cleaned.clone());
            on_cleanup(move || cleaned.lock().expect("no panic").push(session));
            self.simulation.wait(self.simulation.pick(0..3)).await;
        }
    }
}

impl Greeter for Resident {
    async fn greet(&self) -> Result<u32> {
        self.look().await;
        self.count.update(|count| *count += 1);
        Ok(self.count.get())
    }
}

#[handlers]
impl Resident {
    #[handler(on_node_bind)]
    async fn bound(&self) {
        self.look().await;
    }
}

#[testing::test]
async fn equal_sessions_interleaved_on_one_thread_never_see_each_others_state_or_owner() {
    for seed in 0..100 {
        simulate(seed, |simulation| async move {
            let (mixed, cleaned) = (Rc::new(RefCell::new(0)), Cleaned::default());
            let live = |session: u64| {
                let (simulation, mixed, cleaned) = (simulation.clone(), mixed.clone(), cleaned.clone());
                async move {
                    let context = NodeContext::root(simulation.platform(), None);
                    context.insert(session);
                    let make = || Resident::new(session, simulation.clone(), mixed.clone(), cleaned.clone());
                    let (root, child) = (make(), make());
                    root.node_bind("coati.root", &context).await.expect("free");
                    root.node_add("child", child.clone()).await.expect("free");
                    let remote = root.remote::<dyn Greeter>("coati.root.child").expect("bound");
                    let (one, two) = futures::join!(remote.greet(), remote.greet());
                    let mut counts = [one.expect("answers"), two.expect("answers")];
                    counts.sort_unstable();
                    assert_eq!(counts, [1, 2], "the other session's calls count there");
                    (context, root)
                }
            };
            let ((_one, root), (_two, other)) = futures::join!(live(1), live(2));
            assert_eq!(*mixed.borrow(), 0);
            assert!(cleaned.lock().expect("no panic").is_empty());
            root.node_unbind().await.expect("unbinds");
            // Two nodes were bound and two calls made, three looks each.
            assert_eq!(*cleaned.lock().expect("no panic"), [1; 12], "only its own owner's");
            other.node_unbind().await.expect("unbinds");
            assert_eq!(cleaned.lock().expect("no panic")[12..], [2; 12]);
        });
    }
}

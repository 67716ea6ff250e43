//! Session roots and pairs: members on both sides, a controller and its view that find each other by role, and sessions
//! on one thread that never mix.

use std::{cell::RefCell, rc::Rc};

use coati_shared::{
    prelude::*,
    state::on_cleanup,
    testing::{self, Placement, Simulation, simulate},
};

#[contract]
trait Server {
    async fn increment(&self) -> Result<u32>;
    /// Opens a context: its controller here, its view at the client.
    async fn open(&self, name: String) -> Result<()>;
}

#[node(Server)]
struct ServerMember {
    count: Value<u32>,
}

impl Server for ServerMember {
    async fn increment(&self) -> Result<u32> {
        self.count.update(|count| *count += 1);
        Ok(self.count.get())
    }

    async fn open(&self, name: String) -> Result<()> {
        let controller = Controller::new();
        let place = self.resolve("@server")?.join(&name)?;
        let context = self.node_context().expect("bound");
        context.set_reference("from", self.resolve("@client")?);
        context.set_reference("controller", place);
        context.set_reference("view", self.resolve("@client")?.join(&name)?);
        self.node_add(&name, controller.clone()).await?;
        let created = self.remote::<dyn Client>("@client")?.create_view(name.clone()).await;
        if created.is_err() {
            self.node_remove(&name).await?;
        }
        created
    }
}

#[contract]
trait Client {
    async fn create_view(&self, name: String) -> Result<()>;
}

#[node(Client)]
struct ClientMember {
    refuses: bool,
}

impl Client for ClientMember {
    async fn create_view(&self, name: String) -> Result<()> {
        if self.refuses {
            return Err(Error::new(ErrorKind::Refused, "No room."));
        }
        let context = self.node_context().expect("bound");
        context.set_reference("from", self.resolve("@client")?);
        context.set_reference("controller", self.resolve("@server")?.join(&name)?);
        context.set_reference("view", self.resolve("@client")?.join(&name)?);
        self.node_add(&name, ViewNode::new()).await
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

async fn session(at: &Placement, base: &str, refuses: bool) -> Result<(Rc<ServerMember>, Rc<ClientMember>)> {
    let base = Path::root(base)?;
    let (server, client) = (ServerMember::new(), ClientMember::new(refuses));
    server.node_bind(base.join("server")?, &at.far).await?;
    client.node_bind(base.join("client")?, &at.near).await?;
    Ok((server, client))
}

#[testing::test]
async fn each_session_has_members_and_state_of_its_own(at: Placement) -> Result<()> {
    let (_, one) = session(&at, "coati.one", false).await?;
    let count = async |client: &Rc<ClientMember>| client.remote::<dyn Server>("@server")?.increment().await;
    assert_eq!((count(&one).await?, count(&one).await?), (1, 2));
    let (_, two) = session(&at, "coati.two", false).await?;
    assert_ne!(one.resolve("@server")?, two.resolve("@server")?);
    assert_eq!((count(&two).await?, count(&one).await?), (1, 3));
    Ok(())
}

#[testing::test]
async fn a_controller_and_its_view_find_each_other_by_role(at: Placement) -> Result<()> {
    let (server, client) = session(&at, "coati.one", false).await?;
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
    let (server, client) = session(&at, "coati.one", true).await?;
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

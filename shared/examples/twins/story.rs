//! What both twins do, once for each of them: their nodes come from the file around this one.

use coati_shared::{
    prelude::*,
    testing::{self, settle},
};
use futures::TryStreamExt;

use super::{Desk, Greeter, Visitor};

/// Says all that can be seen of the nodes from outside, in one tree or in two.
///
/// # Errors
/// None, if the twin is right.
pub async fn story(near: NodeContext, far: NodeContext) -> Result<Vec<String>> {
    let (desk, visitor, house) = (Desk::new("Hello".to_owned()), Visitor::make(), Path::root("house")?);
    let mut told = vec![
        format!("{:?}", <dyn Greeter as Contract>::INFO),
        format!("{} {}", desk.node_type(), visitor.node_type()),
        format!("{:?} {}", desk.node_contracts(), desk.node_registers_each()),
    ];
    desk.node_bind(house.join("desk")?, &far).await?;
    for name in ["Ada", "Grace", "Edith"] {
        desk.on_hello.notify(name.to_owned()).await?;
    }
    visitor.node_bind(house.join("visitor")?, &near).await?;
    settle().await;
    let remote = visitor.remote::<dyn Greeter>("@desk")?.with_timeout(None);
    told.push(format!("{} {remote:?}", remote.remote_path()));
    told.push(remote.hello("Mary".to_owned()).await?);
    told.push(format!("{:?}", remote.count(3).try_collect::<Vec<u32>>().await?));
    let by_name: String = visitor.remote_dyn("@desk")?.call("hello", ("Joan",)).await?;
    told.push(by_name);
    let unfit: Result<String> = visitor.remote_dyn("@desk")?.call("hello", (1,)).await;
    told.push(format!("{:?}", unfit.map_err(|error| error.kind)));
    let guests: Mirror<Vec<String>> = visitor.mirror(Desk::guests, "@desk")?;
    settle().await;
    told.push(format!("{:?} {:?}", guests.get(), guests.status()));
    told.push(format!("{:?}", visitor.heard.get()));
    for entry in desk.node_state() {
        let json = entry.cell.map(|cell| cell.read_json()).transpose()?;
        told.push(format!("{} {json:?} {}", entry.name, entry.mirrored));
    }
    desk.node_unbind().await?;
    visitor.node_unbind().await?;
    Ok(told)
}

/// Prints the story, in one tree.
///
/// # Errors
/// As [`story`].
#[allow(clippy::print_stdout, reason = "it is what the examples do")]
pub fn tell() -> Result<()> {
    testing::run(async {
        let context = testing::local_context();
        for line in story(context.clone(), context).await? {
            println!("{line}");
        }
        Ok(())
    })
}

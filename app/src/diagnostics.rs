//! A hidden page with a button that fails on each side, so that anyone can see what a user would see.

use shared::{error::Result, prelude::*};

/// What the diagnostics page asks of its controller.
#[contract]
pub trait Diagnostics {
    /// Panics on the server.
    async fn panic(&self) -> Result<()>;
}

#[cfg(feature = "server")]
pub use controller::candidate;

#[cfg(feature = "server")]
mod controller {
    use std::rc::Rc;

    use futures::{FutureExt, future::LocalBoxFuture};
    use server::service::{Candidate, Controller};
    use shared::intent::Operation;

    use super::*;

    /// The candidate for the intent to view `diagnostics`.
    #[must_use]
    pub fn candidate() -> Candidate {
        Candidate {
            operation: Operation::View,
            source: "diagnostics",
            view: "diagnostics",
            title: "Diagnostics",
            roles: &["admin"],
            build: Box::new(|_, _| Ok(DiagnosticsController::new())),
        }
    }

    #[node(Diagnostics)]
    struct DiagnosticsController {}

    impl Diagnostics for DiagnosticsController {
        #[allow(clippy::panic, reason = "this is what the button is for")]
        async fn panic(&self) -> Result<()> {
            panic!("the diagnostics button was pressed")
        }
    }

    impl Controller for DiagnosticsController {
        fn paired(self: Rc<Self>) -> LocalBoxFuture<'static, Result<()>> {
            std::future::ready(Ok(())).boxed_local()
        }
    }
}

#[cfg(feature = "client")]
pub use view::page;

#[cfg(feature = "client")]
mod view {
    use std::rc::Rc;

    use client::{Desk, View, parts::Button};
    use leptos::prelude::*;

    use super::*;

    /// The page with the two buttons.
    #[must_use]
    pub fn page() -> Rc<DiagnosticsView> {
        DiagnosticsView::new()
    }

    /// Two buttons, one for each side.
    #[node]
    pub struct DiagnosticsView {}

    impl DiagnosticsView {
        fn panic_on_server(&self, desk: Desk) {
            let controller = self.remote::<dyn Diagnostics>("#controller");
            self.spawn(async move {
                if let Err(error) = controller?.panic().await {
                    desk.toasts.warn(error.to_string());
                }
                Ok(())
            });
        }
    }

    impl View for DiagnosticsView {
        #[allow(clippy::panic, reason = "this is what the button is for")]
        fn render(self: Rc<Self>, desk: Desk) -> AnyView {
            let on_server = move || self.panic_on_server(desk);
            view! {
                <section class="view">
                    <h2>"What a failure looks like"</h2>
                    <p>"Each button makes one side panic."</p>
                    <div class="toolbar">
                    <Button label="Fail on the server" name="panic-server" on_press=on_server/>
                    <Button
                        label="Fail in the page"
                        name="panic-client"
                        on_press=|| panic!("the diagnostics button was pressed")
                    />
                    </div>
                </section>
            }
            .into_any()
        }
    }
}

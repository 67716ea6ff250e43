//! The server's half of the assessments page.

use std::rc::Rc;

use futures::{FutureExt, future::LocalBoxFuture};
use server::service::{Controller, CursorNode};
use shared::{error::Result, prelude::*};

/// Holds the cursor that the grid and the form work on, at `#controller.rows`.
#[node]
pub struct AssessmentsController {
    rows: Rc<CursorNode>,
}

impl AssessmentsController {
    /// A controller over a cursor that is not bound yet.
    #[must_use]
    pub fn with_rows(rows: Rc<CursorNode>) -> Rc<Self> {
        Self::new(rows)
    }
}

#[handlers]
impl AssessmentsController {
    #[handler(on_node_bind)]
    async fn add_rows(&self) -> Result<()> {
        self.node_add("rows", self.rows.clone()).await
    }
}

impl Controller for AssessmentsController {
    fn paired(self: Rc<Self>) -> LocalBoxFuture<'static, Result<()>> {
        std::future::ready(Ok(())).boxed_local()
    }
}

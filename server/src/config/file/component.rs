//! `[[component]]`: programs that run with the router.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::values::Seconds;
use crate::component::Component;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ComponentPart {
    pub(super) name: String,
    pub(super) command: Vec<String>,
    pub(super) directory: Option<PathBuf>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    pub(super) pause_seconds: Option<Seconds>,
    pub(super) longest_pause_seconds: Option<Seconds>,
    pub(super) healthy_after_seconds: Option<Seconds>,
    pub(super) stop_seconds: Option<Seconds>,
}

impl From<ComponentPart> for Component {
    fn from(part: ComponentPart) -> Self {
        let mut component = Self::new(part.name, part.command);
        component.directory = part.directory;
        component.environment = part.environment;
        let set = |setting: &mut Duration, value: Option<Seconds>| *setting = value.map_or(*setting, |value| value.0);
        set(&mut component.pause, part.pause_seconds);
        set(&mut component.longest_pause, part.longest_pause_seconds);
        set(&mut component.healthy_after, part.healthy_after_seconds);
        set(&mut component.stop_within, part.stop_seconds);
        component
    }
}

//! What all parties of a simulation write down: who did what how often, and whether all was well with the links.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use coati_shared::{
    node::stream::WINDOW,
    testing::{Cut, Weather},
};

/// The party that has the ledger; clients have the numbers below.
pub const SERVER: u64 = 2;
pub const PARTIES: u64 = SERVER + 1;
/// So many tales are kept for late listeners.
pub const KEPT: u64 = 3;

/// What all parties write down.
#[derive(Default)]
pub struct Chronicle {
    pub violations: RefCell<Vec<String>>,
    /// How often each marked call has run.
    pub applied: RefCell<BTreeMap<(u64, u64), u32>>,
    pub started: Cell<u64>,
    pub completed: Cell<u64>,
    /// Callees at work.
    pub working: Cell<i64>,
    /// Callees that answer by a stream, at work.
    pub pouring: Cell<i64>,
    /// How many items of each stream were read.
    read: RefCell<Vec<u64>>,
    /// Bound nodes, counted by what their owners clean up.
    pub owned: Arc<AtomicI64>,
    /// Links by party, up to their end.
    pub links: RefCell<BTreeMap<u64, Weather>>,
    /// Parts whose unbinding is done.
    pub dead: RefCell<BTreeSet<u64>>,
    /// Parties with a session that is heard.
    attached: RefCell<BTreeSet<u64>>,
    /// Whether the owner publishes nothing for a while.
    is_silent: Cell<bool>,
    /// Counts what may cost a message.
    unrest: Cell<u64>,
    /// What [`Chronicle::peace`] was when each tale was told.
    told: RefCell<Vec<Option<u64>>>,
    /// The storm is over.
    pub is_calm: Cell<bool>,
    /// The server stays away.
    pub is_away: Cell<bool>,
}

impl Chronicle {
    pub fn violation(&self, text: String) {
        let mut violations = self.violations.borrow_mut();
        if violations.len() < 3 {
            violations.push(text);
        }
    }

    /// A node is bound; it counts until its owner cleans up.
    pub fn own(&self) {
        self.owned.fetch_add(1, Ordering::Relaxed);
        let owned = self.owned.clone();
        coati_shared::state::on_cleanup(move || {
            owned.fetch_sub(1, Ordering::Relaxed);
        });
    }

    pub fn check_alive(&self, node: u64, what: &str) {
        if self.dead.borrow().contains(&node) {
            self.violation(format!("{what} reached a node that was unbound"));
        }
    }

    /// Names the peace in which everybody is connected and heard; none while somebody is not. If it is the same at two
    /// moments, nothing was lost in between.
    pub fn peace(&self) -> Option<u64> {
        let is_peace = self.attached.borrow().len() as u64 == PARTIES && !self.is_silent.get();
        is_peace.then(|| self.unrest.get())
    }

    fn disturb(&self) {
        self.unrest.set(self.unrest.get() + 1);
    }

    /// A party has a session, and has told the router everything.
    pub fn attach(&self, party: u64) {
        if self.links.borrow().contains_key(&party) {
            self.attached.borrow_mut().insert(party);
        }
        self.disturb();
    }

    pub fn detach(&self, party: u64) {
        self.attached.borrow_mut().remove(&party);
        self.disturb();
    }

    pub fn set_silent(&self, is_silent: bool) {
        self.is_silent.set(is_silent);
        self.disturb();
    }

    pub fn cut(&self, party: u64, how: Cut) {
        let link = self.links.borrow_mut().remove(&party);
        if let Some(link) = link {
            self.detach(party);
            link.cut(how);
        }
    }

    /// One more tale is told now; answers its number, from 1.
    pub fn tell(&self) -> u64 {
        self.told.borrow_mut().push(self.peace());
        self.tales()
    }

    /// How many tales were told so far.
    pub fn tales(&self) -> u64 {
        self.told.borrow().len() as u64
    }

    fn peace_of_tale(&self, number: u64) -> Option<u64> {
        self.told.borrow()[number as usize - 1]
    }

    /// Somebody begins to read a stream; answers its number.
    pub fn reads(&self) -> usize {
        self.read.borrow_mut().push(0);
        self.read.borrow().len() - 1
    }

    pub fn has_read(&self, reading: usize, number: u64) {
        self.read.borrow_mut()[reading] = number;
    }

    /// The callee makes an item: it must not be further ahead of its reader than one that does not fit any more, beside
    /// one of which the reader's stream knows, and the reader not yet.
    pub fn check_ahead(&self, reading: usize, number: u64) {
        let ahead = number - self.read.borrow()[reading];
        if ahead > WINDOW as u64 + 2 {
            self.violation(format!("a callee is {ahead} items ahead of its reader"));
        }
    }
}

/// What a late listener hears of the tales.
pub struct Ear {
    /// Peace and number of tales before it listened.
    begun: (Option<u64>, u64),
    last: Cell<u64>,
}

impl Ear {
    pub fn new(chronicle: &Chronicle) -> Self {
        Self {
            begun: (chronicle.peace(), chronicle.tales()),
            last: Cell::new(0),
        }
    }

    /// The tale that was heard last.
    pub fn last(&self) -> u64 {
        self.last.get()
    }

    /// First exactly those that were kept, then each once, in order. After unrest some may be missing.
    pub fn hear(&self, chronicle: &Chronicle, number: u64) {
        let (last, peace, (begun, before)) = (self.last.replace(number), chronicle.peace(), self.begun);
        let oldest = |tales: u64| (tales + 1).saturating_sub(KEPT).max(1);
        if number <= last {
            chronicle.violation(format!("a listener heard tale {number} after {last}"));
        } else if last == 0 {
            // In bad weather, older ones may be under way to a listener of the same tree that has just gone.
            let least = if chronicle.is_calm.get() { oldest(before) } else { 1 };
            let kept = least..=oldest(chronicle.tales());
            if begun.is_some() && begun == peace && !kept.contains(&number) {
                chronicle.violation(format!(
                    "a late listener heard tale {number} first, not one of {kept:?}"
                ));
            }
        } else if number > last + 1 && peace.is_some() && chronicle.peace_of_tale(last) == peace {
            chronicle.violation(format!("a listener missed tales between {last} and {number}"));
        }
    }
}

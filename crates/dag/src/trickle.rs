//! Kubo's trickle layout: a node has leaves first, then four subtrees of each depth from 1 on, each of which is filled in
//! the same way. What is read first is near the root, and a file can grow at its end.

use crate::Block;
use crate::file::{FileRoot, gathered};
use crate::hash::Naming;
use crate::pb::Attributes;

/// Subtrees of each depth. As Kubo: `depthRepeat`.
const SUBTREES: usize = 4;

/// Nodes from the root to where leaves are put now.
#[derive(Debug)]
pub(crate) struct Trickle {
    open: Vec<Open>,
    /// Leaves of a node.
    leaves_max: usize,
}

/// A node that takes more.
#[derive(Debug)]
struct Open {
    children: Vec<FileRoot>,
    /// Its subtrees are less deep than this; `None`: as deep as it takes.
    below: Option<usize>,
}

impl Open {
    fn new(below: Option<usize>) -> Self {
        Self { children: Vec::new(), below }
    }

    fn takes_leaves(&self, leaves_max: usize) -> bool {
        self.children.len() < leaves_max
    }

    /// The depth of its next subtree, if there may be one.
    fn next_depth(&self, leaves_max: usize) -> Option<usize> {
        let depth = 1 + (self.children.len() - leaves_max) / SUBTREES;
        self.below.is_none_or(|below| depth < below).then_some(depth)
    }
}

impl Trickle {
    pub(crate) fn new(leaves_max: usize) -> Self {
        Self { open: vec![Open::new(None)], leaves_max }
    }

    pub(crate) fn add(&mut self, leaf: FileRoot, naming: Naming, out: &mut dyn FnMut(Block)) {
        loop {
            let Some(last) = self.open.last_mut() else {
                self.open.push(Open::new(None));
                continue;
            };
            if last.takes_leaves(self.leaves_max) {
                return last.children.push(leaf);
            }
            match last.next_depth(self.leaves_max) {
                Some(depth) => self.open.push(Open::new(Some(depth))),
                None => self.close(naming, out),
            }
        }
    }

    /// Ends the last node, below the one before it.
    fn close(&mut self, naming: Naming, out: &mut dyn FnMut(Block)) {
        if let Some(last) = self.open.pop()
            && let Some(above) = self.open.last_mut()
        {
            above.children.push(gathered(&last.children, naming, Attributes::NONE, out));
        }
    }

    /// The root.
    pub(crate) fn finish(mut self, naming: Naming, attributes: Attributes, out: &mut dyn FnMut(Block)) -> FileRoot {
        while self.open.len() > 1 {
            self.close(naming, out);
        }
        gathered(&self.open.pop().map_or_else(Vec::new, |root| root.children), naming, attributes, out)
    }
}

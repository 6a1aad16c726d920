//! Flashing: an image is fetched, decoded, written to cards, read back, and made a minion's own.
//!
//! Data flows one way: [`catalogue`] names an image, [`fetch`] brings its file, [`decode`] its bytes, [`map`] says which of them a
//! file system needs, [`write`] brings those to the [`device`]s and reads them back, [`identity`] makes the card a minion's,
//! and [`inspect`] says whether it would boot. Nothing here prints: it tells [`event::Event`]s.

pub mod blocks;
pub mod files;
pub mod event;
pub mod identity;

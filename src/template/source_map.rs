//! From a place in a rendered text back to the place in the template that it came from.
//!
//! minijinja tells nothing of this, but it hands over raw text as slices of the template's own: their addresses say where they
//! stand. What a tag printed belongs to the tag that follows the last raw text before it.

use super::files::Source;
use crate::error::Pos;
use minijinja::Environment;
use std::io;
use std::sync::Arc;

/// The largest text that a template may make, in bytes.
pub const LARGEST: usize = 64 << 20;

/// Takes in what a template prints.
#[derive(Default)]
pub struct Sink {
    pub text: Vec<u8>,
    /// For each piece: where it begins in the text, and the address of what was printed.
    pieces: Vec<(usize, usize)>,
}

impl io::Write for Sink {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.text.len() + piece.len() > LARGEST {
            return Err(io::Error::other("too large"));
        }
        if !piece.is_empty() {
            self.pieces.push((self.text.len(), piece.as_ptr() as usize));
            self.text.extend_from_slice(piece);
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    /// The way back for what was printed, while the templates are still where they were.
    pub fn map(&self, environment: &Environment, source_of: impl Fn(&str) -> Option<Arc<Source>>) -> SourceMap {
        let mut templates: Vec<(std::ops::Range<usize>, Arc<Source>)> = environment
            .templates()
            .filter_map(|(name, template)| {
                let start = template.source().as_ptr() as usize;
                Some((start..start + template.source().len(), source_of(name)?))
            })
            .collect();
        templates.sort_by_key(|(range, _)| range.start);
        let mut sources: Vec<Arc<Source>> = Vec::new();
        let mut pieces = Vec::new();
        for (n, (at, address)) in self.pieces.iter().enumerate() {
            let next = templates.partition_point(|(range, _)| range.start <= *address);
            let found = next
                .checked_sub(1)
                .and_then(|at| templates.get(at))
                .filter(|(range, _)| range.contains(address));
            let Some((range, source)) = found else { continue };
            let known = sources.iter().position(|known| Arc::ptr_eq(known, source));
            let source = known.unwrap_or_else(|| {
                sources.push(source.clone());
                sources.len() - 1
            });
            let end = self.pieces.get(n + 1).map_or(self.text.len(), |(at, _)| *at);
            pieces.push(Piece {
                at: *at,
                end,
                source,
                offset: address - range.start,
            });
        }
        let newlines = self
            .text
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1);
        SourceMap {
            lines: std::iter::once(0).chain(newlines).collect(),
            text: String::from_utf8_lossy(&self.text).into_owned(),
            pieces,
            sources,
        }
    }
}

/// Raw text of a template in the rendered text.
#[derive(Clone, Copy, Debug)]
struct Piece {
    at: usize,
    end: usize,
    source: usize,
    /// Where it begins in the rewritten template.
    offset: usize,
}

#[derive(Debug, Default)]
pub struct SourceMap {
    text: String,
    lines: Vec<usize>,
    pieces: Vec<Piece>,
    sources: Vec<Arc<Source>>,
}

impl SourceMap {
    /// Where what stands at `line` and `column` (from 1) of the rendered text was written; `None` where that is not known.
    pub fn origin(&self, line: u32, column: u32) -> Option<Pos> {
        let start = *self.lines.get((line as usize).checked_sub(1)?)?;
        let rest = self.text.get(start..)?;
        let column = (column as usize).saturating_sub(1);
        let at = start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
        let next = self.pieces.partition_point(|piece| piece.at <= at);
        let piece = match next.checked_sub(1) {
            Some(before) => self.pieces[before],
            None => *self.pieces.first()?,
        };
        let source = self.sources.get(piece.source)?;
        Some(source.place(piece.offset + at.clamp(piece.at, piece.end) - piece.at))
    }
}
